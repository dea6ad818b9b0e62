package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/internal/advisory"
	"github.com/plimsoll/plimsoll/internal/feed"
	"github.com/plimsoll/plimsoll/internal/term"
)

func newDB() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "db",
		Short: "Fill the advisory file, or look at it",
		Long: `The advisory file is what scans compare with: one SQLite file that any number of
processes read at once, and that a new one replaces as a whole.`,
	}
	c.PersistentFlags().StringVar(&path, "db", "", "advisory file (default $PLIMSOLL_DB or plimsoll/advisories.db in the user's data directory)")
	c.AddCommand(&cobra.Command{
		Use:   "import FILE|DIR...",
		Short: "Add OSV records to the advisory file",
		Long: `Adds records in the form of the OSV schema: the all.zip of an ecosystem, single
JSON files, or directories with either at any depth. Of two records with the
same id the one modified last is kept. The advisory file is replaced when
everything was read; if anything fails it stays as it was.

EXIT STATUS
  0  imported; rejected records, if any, are listed
  1  not imported
  2  the command line is wrong`,
		Example: `  plimsoll db import npm/all.zip PyPI/all.zip
  plimsoll db import ./osv
  plimsoll db import --db ./advisories.db our-own-advisories/`,
		Args: args(cobra.MinimumNArgs(1), "name the files or directories: plimsoll db import FILE|DIR..."),
		RunE: func(c *cobra.Command, list []string) error {
			file, err := dbPath(path)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			progress := term.NewProgress(c.ErrOrStderr(), "importing")
			feeds, err := feed.ImportOSV(c.Context(), file, list, func(p feed.Progress) {
				progress.Note(fmt.Sprintf("%s: %d records", filepath.Base(filepath.Dir(p.Source)), p.Read))
			})
			progress.Done()
			if err != nil {
				return err
			}
			t := feedTable(c, feeds)
			if err := t.Flush(); err != nil {
				return err
			}
			for _, f := range feeds {
				for _, reason := range f.Reasons {
					fmt.Fprintf(c.OutOrStdout(), "rejected: %s: %s\n", f.Source, term.Clean(reason))
				}
			}
			return nil
		},
	}, newDBStatus(&path))
	return c
}

func newDBStatus(path *string) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "status",
		Short: "Print what the advisory file holds",
		Long: `Prints the feeds in the advisory file: their age, and how many records were kept
and rejected.

EXIT STATUS
  0  printed
  1  there is no advisory file, or it cannot be read
  2  the command line is wrong`,
		Example: "  plimsoll db status\n  plimsoll db status --format json",
		Args:    args(cobra.NoArgs, "plimsoll db status takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := oneOf("--format", format, "table", "json"); err != nil {
				return err
			}
			db, err := openDB(*path)
			if err != nil {
				return err
			}
			defer db.Close()
			feeds, err := db.Feeds(c.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(map[string]any{"schema": "plimsoll/db/1", "path": db.Path(), "feeds": feeds})
			}
			fmt.Fprintln(c.OutOrStdout(), db.Path())
			return feedTable(c, feeds).Flush()
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table or json")
	return c
}

func feedTable(c *cobra.Command, feeds []advisory.Feed) *term.Table {
	t := term.NewTable(c.OutOrStdout(), "FEED", "SOURCE", "NEWEST", "READ", "KEPT", "WITHDRAWN", "OLDER", "REJECTED")
	for _, f := range feeds {
		newest := ""
		if !f.Data.IsZero() {
			newest = f.Data.Format("2006-01-02")
		}
		t.Row(f.Name, f.Source, newest, fmt.Sprint(f.Read), fmt.Sprint(f.Kept), fmt.Sprint(f.Withdrawn), fmt.Sprint(f.Older), fmt.Sprint(f.Rejected))
	}
	return t
}

// openDB opens the advisory file. The error is errors.Is fs.ErrNotExist when
// there is none.
func openDB(flag string) (*advisory.DB, error) {
	path, err := dbPath(flag)
	if err != nil {
		return nil, err
	}
	return advisory.Open(path)
}

// noDB tells a missing advisory file, which leaves a gap, from a broken one or
// one that was asked for by name.
func noDB(flag string, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && flag == "" && os.Getenv("PLIMSOLL_DB") == ""
}

func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return usageError{fmt.Errorf("%s %q: want %s", flag, value, strings.Join(allowed, ", "))}
}
