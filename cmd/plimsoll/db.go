package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
	group(c)
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
			progress := term.NewProgress(c.ErrOrStderr(), "importing", 0)
			feeds, err := feed.ImportOSV(c.Context(), file, list, func(p feed.Progress) {
				progress.Label(fmt.Sprintf("importing %s: %d records", p.Source, p.Read))
			})
			progress.Stop()
			if err != nil {
				return err
			}
			if err := writeFeeds(c.OutOrStdout(), feeds); err != nil {
				return err
			}
			for _, f := range feeds {
				for _, note := range slices.Sorted(maps.Keys(f.Notes)) {
					fmt.Fprintf(c.OutOrStdout(), "note: %s: %d %s\n", f.Source, f.Notes[note], term.Clean(note))
				}
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
			return writeFeeds(c.OutOrStdout(), feeds)
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table or json")
	return c
}

func writeFeeds(w io.Writer, feeds []advisory.Feed) error {
	number := func(head string) term.Column { return term.Column{Head: head, Right: true, Whole: true} }
	t := term.NewTable(w, term.Column{Head: "FEED", Whole: true}, term.Column{Head: "SOURCE", End: true}, term.Column{Head: "NEWEST", Whole: true},
		number("READ"), number("KEPT"), number("WITHDRAWN"), number("OLDER"), number("REJECTED"))
	for _, f := range feeds {
		newest := ""
		if !f.Data.IsZero() {
			newest = f.Data.Format(time.DateOnly)
		}
		t.Row(term.Text(f.Name), term.Text(f.Source), term.Text(newest), term.Text(fmt.Sprint(f.Read)), term.Text(fmt.Sprint(f.Kept)),
			term.Text(fmt.Sprint(f.Withdrawn)), term.Text(fmt.Sprint(f.Older)), term.Text(fmt.Sprint(f.Rejected)))
	}
	_, err := t.WriteTo(w)
	return err
}

// openDB opens the advisory file.
func openDB(flag string) (*advisory.DB, error) {
	path, err := dbPath(flag)
	if err != nil {
		return nil, err
	}
	return advisory.Open(path)
}

// openDBIfAny is openDB for scans, which go on without an advisory file unless
// one was asked for by name: it is nil then.
func openDBIfAny(flag string) (*advisory.DB, error) {
	path, err := dbPath(flag)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && flag == "" && os.Getenv("PLIMSOLL_DB") == "" {
		return nil, nil
	}
	return advisory.Open(path)
}

func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return usageError{fmt.Errorf("%s %q: want %s", flag, value, strings.Join(allowed, ", "))}
}
