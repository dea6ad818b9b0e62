package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages into a directory",
		Example: "  plimsoll man /usr/local/share/man/man1",
		Args:    args(cobra.ExactArgs(1), "name the directory: plimsoll man DIR"),
		RunE: func(c *cobra.Command, list []string) error {
			if err := os.MkdirAll(list[0], 0o755); err != nil {
				return err
			}
			return doc.GenManTree(c.Root(), &doc.GenManHeader{Section: "1", Source: "plimsoll " + version()}, list[0])
		},
	}
}
