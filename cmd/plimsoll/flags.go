package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/cache"
	"github.com/plimsoll/plimsoll/internal/image"
	"github.com/plimsoll/plimsoll/internal/scan"
	"github.com/plimsoll/plimsoll/internal/term"
)

// cacheBytes bounds the cache of layer reports.
const cacheBytes = 1 << 30

// imageFlags are those of every command that reads an image.
type imageFlags struct {
	platform     string
	allPlatforms bool
	insecure     bool
	mirrors      []string
	parallel     int
	noCache      bool
	cacheDir     string
	limits       plimsoll.Limits
}

func (f *imageFlags) add(c *cobra.Command) {
	f.limits = plimsoll.DefaultLimits()
	fs := c.Flags()
	fs.StringVar(&f.platform, "platform", "", "platform to choose from a multi-platform image: os/arch[/variant] (default this machine's)")
	fs.BoolVar(&f.allPlatforms, "all-platforms", false, "every platform of a multi-platform image")
	fs.BoolVar(&f.insecure, "insecure", false, "allow plain HTTP and certificates that cannot be verified")
	fs.StringArrayVar(&f.mirrors, "mirror", nil, "REGISTRY=MIRROR: ask the mirror first (may be repeated)")
	fs.IntVar(&f.parallel, "parallel", runtime.GOMAXPROCS(0), "layers to read at the same time")
	fs.BoolVar(&f.noCache, "no-cache", false, "neither use nor write the cache of layer reports")
	fs.StringVar(&f.cacheDir, "cache-dir", "", "directory of the cache (default $PLIMSOLL_CACHE or plimsoll in the user's cache directory)")
	fs.Var(bytesFlag{&f.limits.Memory}, "max-memory", "memory to stay under")
	fs.Var(bytesFlag{&f.limits.Spool}, "max-spool", "temporary files at one time")
	fs.Int64Var(&f.limits.Entries, "max-entries", f.limits.Entries, "entries of one layer")
	fs.IntVar(&f.limits.Nesting, "max-nesting", f.limits.Nesting, "archives within archives")
	fs.Int64Var(&f.limits.Ratio, "max-ratio", f.limits.Ratio, "uncompressed to compressed bytes of a layer over 64 MiB")
	fs.Var(bytesFlag{&f.limits.FileSize}, "max-file-size", "largest file that is looked into")
}

// scanner is what the flags ask for.
func (f *imageFlags) scanner(c *cobra.Command) (*scan.Scanner, *term.Progress, error) {
	if f.parallel < 1 {
		return nil, nil, usageError{fmt.Errorf("--parallel %d: at least 1", f.parallel)}
	}
	for flag, n := range map[string]int64{"--max-entries": f.limits.Entries, "--max-nesting": int64(f.limits.Nesting), "--max-ratio": f.limits.Ratio} {
		if n < 1 {
			return nil, nil, usageError{fmt.Errorf("%s %d: at least 1", flag, n)}
		}
	}
	o := image.Options{
		Platform:     f.platform,
		AllPlatforms: f.allPlatforms,
		Insecure:     f.insecure,
		Mirrors:      map[string]string{},
		Limits:       f.limits,
		Stdin:        c.InOrStdin(),
	}
	for _, m := range f.mirrors {
		from, to, ok := strings.Cut(m, "=")
		if !ok || from == "" || to == "" {
			return nil, nil, usageError{fmt.Errorf("--mirror %q: want REGISTRY=MIRROR, such as docker.io=mirror.example.org", m)}
		}
		o.Mirrors[from] = to
	}
	// A soft bound for the runtime, which needs room beside the heap: the
	// program's own pages, stacks and the collector's.
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(f.limits.Memory * 2 / 3)
	}
	progress := term.NewProgress(c.ErrOrStderr(), "reading", 0)
	o.Progress = progress.Label
	s := scan.New(o)
	s.Progress = func(n int) { progress.Add(int64(n)) }
	s.Parallel = f.parallel
	s.Warn = func(err error) { fmt.Fprintln(c.ErrOrStderr(), "plimsoll: warning:", err) }
	if !f.noCache {
		store, _, err := openCache(f.cacheDir)
		if err != nil {
			s.Warn(fmt.Errorf("%w; going on without a cache", err))
		} else {
			s.Cache = store
		}
	}
	return s, progress, nil
}

func openCache(dir string) (*cache.Cache, string, error) {
	if dir == "" {
		dir = os.Getenv("PLIMSOLL_CACHE")
	}
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, "", err
		}
		dir = filepath.Join(user, "plimsoll", "layers")
	}
	c, err := cache.Open(dir, cacheBytes)
	return c, dir, err
}

// dbPath is where the advisory file is: the flag, PLIMSOLL_DB, or the user's
// data directory (XDG base directory specification).
func dbPath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if env := os.Getenv("PLIMSOLL_DB"); env != "" {
		return env, nil
	}
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", plimsoll.WithHint(err, "name the advisory file with --db")
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "plimsoll", "advisories.db"), nil
}

// bytesFlag is a number of bytes, with a unit: 150MiB, 2GiB, 4096.
type bytesFlag struct{ n *int64 }

var _ pflag.Value = bytesFlag{}

func (b bytesFlag) Type() string { return "bytes" }

func (b bytesFlag) String() string {
	if b.n == nil {
		return ""
	}
	for _, u := range byteUnits {
		if *b.n >= u.size && *b.n%u.size == 0 {
			return strconv.FormatInt(*b.n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(*b.n, 10)
}

func (b bytesFlag) Set(s string) error {
	digits := strings.TrimRight(s, "KMGTiBkmgtb ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("want a number of bytes such as 150MiB")
	}
	unit := strings.ToUpper(strings.TrimSpace(s[len(digits):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	for _, u := range byteUnits {
		if unit == u.name[:1] {
			if n > 1<<62/u.size {
				return fmt.Errorf("too large")
			}
			*b.n = n * u.size
			return nil
		}
	}
	if unit != "" {
		return fmt.Errorf("want a number of bytes such as 150MiB")
	}
	*b.n = n
	return nil
}

var byteUnits = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
