package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/internal/term"
)

func newCache() *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Look at the cache of layer reports, or empty it",
		Long: `A layer is named by its content, so what was found in it is kept and never read
again while the detectors are the same. The cache may be deleted at any time.`,
	}
	group(c)
	var dir string
	c.PersistentFlags().StringVar(&dir, "cache-dir", "", "directory of the cache (default $PLIMSOLL_CACHE or plimsoll in the user's cache directory)")
	c.AddCommand(&cobra.Command{
		Use:     "status",
		Short:   "Print where the cache is and how large",
		Example: "  plimsoll cache status",
		Args:    args(cobra.NoArgs, "plimsoll cache status takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			store, path, err := openCache(dir)
			if err != nil {
				return err
			}
			size, err := store.Size()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s  %s of %s\n", path, term.Bytes(size), term.Bytes(cacheBytes))
			return err
		},
	}, &cobra.Command{
		Use:     "clear",
		Short:   "Empty the cache",
		Example: "  plimsoll cache clear",
		Args:    args(cobra.NoArgs, "plimsoll cache clear takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			store, _, err := openCache(dir)
			if err != nil {
				return err
			}
			return store.Clear()
		},
	})
	return c
}
