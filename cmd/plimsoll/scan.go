package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/report"
	"github.com/plimsoll/plimsoll/internal/scan"
)

// imageNames is the part of the help that scan and bom share.
const imageNames = `IMAGE is a name with or without the prefix that says where it is:

  registry:REFERENCE    a registry, with Docker's credentials and helpers
  docker:REFERENCE      a running Docker Engine (DOCKER_HOST or the current context)
  podman:REFERENCE      a running Podman
  containerd:REFERENCE  containerd's image store
  oci:DIR[:TAG]         an OCI image layout
  archive:FILE[:TAG]    docker save or skopeo output; "-" is standard input
  dir:DIR               the root file system of an image
  sbom:FILE             a CycloneDX or SPDX document

Without a prefix, a path that exists is taken for what it looks like; any other
name is looked for in the engines of this machine, then in its registry.`

// scanFlags are those of commands that scan.
type scanFlags struct {
	imageFlags
	db        string
	format    string
	output    string
	allLayers bool
}

func (f *scanFlags) add(c *cobra.Command) {
	f.imageFlags.add(c)
	c.Flags().StringVar(&f.db, "db", "", "advisory file (default $PLIMSOLL_DB or plimsoll/advisories.db in the user's data directory)")
	c.Flags().StringVar(&f.format, "format", "table", "table or json")
	c.Flags().StringVarP(&f.output, "output", "o", "", "write to this file instead of standard output")
	c.Flags().BoolVar(&f.allLayers, "all-layers", false, "also list, as history, what lower layers have and later ones removed")
}

func newScan() *cobra.Command {
	var f scanFlags
	c := &cobra.Command{
		Use:   "scan IMAGE",
		Short: "List the known vulnerabilities of an image, layer by layer",
		Long: `Reads every layer of an image once, finds its components, and compares them with
the advisory file (see plimsoll db).

` + imageNames + `

What could not be read or assessed is listed as a gap. "No known vulnerability"
is only said of what was assessed.

With --all-platforms the JSON output is one document after the other.

EXIT STATUS
  0  scanned, no vulnerability found, no gaps
  1  not scanned
  2  the command line is wrong
  3  scanned, vulnerabilities found
  4  scanned, no vulnerability found, but there are gaps`,
		Example: `  plimsoll scan debian:12
  plimsoll scan --format json --output result.json registry.example.org/team/app:1.4
  docker save app | plimsoll scan -
  plimsoll scan --platform linux/arm64 oci:./layout`,
		Args: args(cobra.ExactArgs(1), "name one image: plimsoll scan IMAGE"),
		RunE: func(c *cobra.Command, list []string) error {
			if err := oneOf("--format", f.format, "table", "json"); err != nil {
				return err
			}
			if err := checkOutput(f.output); err != nil {
				return err
			}
			results, err := scanImage(c, &f, list[0])
			if err != nil {
				return err
			}
			return verdict(results)
		},
	}
	f.add(c)
	return c
}

// verdict is the exit status that the results call for.
func verdict(results []*plimsoll.Result) error {
	status := exitClean
	for _, r := range results {
		switch {
		case len(r.Findings) > 0:
			return exitStatus(exitFindings)
		case len(r.Gaps) > 0:
			status = exitGaps
		}
	}
	if status != exitClean {
		return exitStatus(status)
	}
	return nil
}

// scanImage scans the image and writes the report that f asks for.
func scanImage(c *cobra.Command, f *scanFlags, name string) ([]*plimsoll.Result, error) {
	db, err := openDBIfAny(f.db)
	if err != nil {
		return nil, err
	}
	if db != nil {
		defer db.Close()
	}
	boms, err := f.boms(c, name)
	if err != nil {
		return nil, err
	}
	var results []*plimsoll.Result
	for _, b := range boms {
		r, err := scan.Match(c.Context(), db, b)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, writeTo(c, f.output, func(w io.Writer) error {
		for i, r := range results {
			if err := separate(w, f.format, i); err != nil {
				return err
			}
			write := report.ScanTable
			if f.format == "json" {
				write = func(w io.Writer, r *plimsoll.Result) error { return report.ScanJSON(w, r, f.allLayers) }
			}
			if err := write(w, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// separate puts an empty line between the tables of several platforms.
func separate(w io.Writer, format string, i int) error {
	if i == 0 || format != "table" {
		return nil
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// boms reads the image, with progress on a terminal.
func (f *imageFlags) boms(c *cobra.Command, name string) ([]*plimsoll.BOM, error) {
	s, progress, err := f.scanner(c)
	if err != nil {
		return nil, err
	}
	defer progress.Stop()
	return s.BOMs(c.Context(), name)
}

// checkOutput finds before a long scan what would keep its result from being
// written.
func checkOutput(output string) error {
	if output == "" || output == "-" {
		return nil
	}
	if info, err := os.Stat(output); err == nil && info.IsDir() {
		return usageError{fmt.Errorf("--output %s: it is a directory", output)}
	}
	if _, err := os.Stat(filepath.Dir(output)); err != nil {
		return usageError{fmt.Errorf("--output %s: %w", output, err)}
	}
	return nil
}

// writeTo writes to standard output, or to a file that is only there when it
// is complete. What is no regular file, such as /dev/null, is written to and
// never replaced.
func writeTo(c *cobra.Command, output string, write func(io.Writer) error) error {
	if output == "" || output == "-" {
		return write(c.OutOrStdout())
	}
	if info, err := os.Stat(output); err == nil {
		if !info.Mode().IsRegular() {
			f, err := os.OpenFile(output, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return errors.Join(write(f), f.Close())
		}
		if output, err = filepath.EvalSymlinks(output); err != nil {
			return err
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it has been renamed
	if err := write(tmp); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), output)
}
