package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format/cyclonedx"
	"github.com/plimsoll/plimsoll/internal/format/spdx"
	"github.com/plimsoll/plimsoll/internal/report"
)

func newBOM() *cobra.Command {
	var f imageFlags
	var format, output string
	var allLayers bool
	c := &cobra.Command{
		Use:   "bom IMAGE",
		Short: "Write the bill of materials of an image",
		Long: `Writes what is in an image: each component with its package URL, licences, the
layer and the Dockerfile step that introduced it, and the files that are the
evidence.

` + imageNames + `

With --all-platforms the documents follow one another; give --output a name with
{platform} in it to have a file for each.

EXIT STATUS
  0  written, no gaps
  1  not written
  2  the command line is wrong
  4  written, but something could not be read; the gaps are in the document`,
		Example: `  plimsoll bom debian:12
  plimsoll bom --format cyclonedx --output app.cdx.json archive:app.tar
  plimsoll bom --format spdx --all-platforms --output 'app-{platform}.spdx.json' registry.example.org/app`,
		Args: args(cobra.ExactArgs(1), "name one image: plimsoll bom IMAGE"),
		RunE: func(c *cobra.Command, list []string) error {
			if err := oneOf("--format", format, "table", "json", "cyclonedx", "spdx"); err != nil {
				return err
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			boms, err := f.boms(c, list[0])
			if err != nil {
				return err
			}
			perPlatform := strings.Contains(output, "{platform}")
			if len(boms) > 1 && !perPlatform && (format == "cyclonedx" || format == "spdx") {
				return usageError{fmt.Errorf("%d platforms make %d documents: give --output a name with {platform} in it", len(boms), len(boms))}
			}
			if perPlatform {
				for _, b := range boms {
					name := strings.ReplaceAll(output, "{platform}", strings.ReplaceAll(b.Image.Platform.String(), "/", "-"))
					if err := writeTo(c, name, func(w io.Writer) error { return writeBOM(w, b, format, allLayers) }); err != nil {
						return err
					}
				}
			} else if err := writeTo(c, output, func(w io.Writer) error {
				for i, b := range boms {
					if err := separate(w, format, i); err != nil {
						return err
					}
					if err := writeBOM(w, b, format, allLayers); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			for _, b := range boms {
				if len(b.Gaps) > 0 {
					return exitStatus(exitGaps)
				}
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&format, "format", "table", "table, json, cyclonedx (1.6 JSON) or spdx (2.3 JSON)")
	c.Flags().StringVarP(&output, "output", "o", "", "write to this file instead of standard output")
	c.Flags().BoolVar(&allLayers, "all-layers", false, "also list, as history, what lower layers have and later ones removed")
	return c
}

func writeBOM(w io.Writer, b *plimsoll.BOM, format string, allLayers bool) error {
	switch format {
	case "json":
		return report.BOMJSON(w, b, allLayers)
	case "cyclonedx":
		return cyclonedx.Encode(w, b, cyclonedx.Options{Version: version(), AllLayers: allLayers})
	case "spdx":
		return spdx.Encode(w, b, spdx.Options{Version: version(), AllLayers: allLayers})
	default:
		return report.BOMTable(w, b, allLayers)
	}
}
