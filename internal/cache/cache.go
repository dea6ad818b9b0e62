// Package cache keeps results in a directory, up to a number of bytes, for any
// number of processes at once. It is for what can be computed again: an entry
// that is damaged, or not there, is a miss and nothing worse.
//
// There are no locks. An entry is written beside its place and renamed into
// it, so a reader sees all of it or nothing; whoever deletes does not mind that
// another was faster.
package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plimsoll/plimsoll"
)

const (
	// touchAfter is how old an entry's time of last use may be before Get
	// writes it anew. Exact times are not worth a write for every read.
	touchAfter = time.Hour
	// staleAfter is when a temporary file has no writer any more.
	staleAfter = time.Hour
	// evictPart is the part of the bound that an eviction makes free: one in
	// so many.
	evictPart = 5
	// recountPart is the part of the bound that may be written before the
	// directory is counted anew: other processes write to it too.
	recountPart = 20

	tempPrefix = "plimsoll-tmp-"
)

// Cache is one directory of entries. Its methods may be called by several
// goroutines and by several processes at once.
type Cache struct {
	dir   string
	max   int64
	codec *codec

	mu sync.Mutex
	// size is about how many bytes the directory holds; -1 until they are
	// counted. added are those that were written since.
	size, added int64
	counting    bool
}

// Open uses dir as a cache of at most maxBytes, as the files lie on disk. The
// directory is made, for nobody else to read, when it is not there. An error
// means that it cannot be written; the caller may go on without a cache.
func Open(dir string, maxBytes int64) (*Cache, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("opening the cache %s: %d bytes are no room at all", dir, maxBytes)
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		return nil, plimsoll.WithHint(fmt.Errorf("opening the cache %s: %w", dir, err),
			"choose another directory with --cache-dir, or go on without a cache with --no-cache")
	}
	codec, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	return &Cache{dir: dir, max: maxBytes, codec: codec, size: -1}, nil
}

// prepare makes the directory and sees whether it can be written.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	err = probe.Close()
	if err := errors.Join(err, os.Remove(probe.Name())); err != nil {
		return err
	}
	// Backup programs pass over a directory that has this file
	// (bford.info/cachedir). To do without it is no failure.
	tag, err := os.OpenFile(filepath.Join(dir, "CACHEDIR.TAG"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = io.WriteString(tag, "Signature: 8a477f597d28d172789f06886806bc55\n# Results that Plimsoll can compute again; may be deleted at any time.\n")
		_ = tag.Close()
	}
	return nil
}

// path is where the entry of key lies.
func (c *Cache) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(c.dir, name[:2], name[2:])
}

// Get returns the value that was put under key, if it is there and whole.
func (c *Cache) Get(key string) ([]byte, bool) {
	path := c.path(key)
	file, used, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	var value []byte
	if err == nil {
		value, err = c.codec.decode(key, file)
	}
	if errors.Is(err, errDamaged) {
		// Of another version perhaps, or no file of ours: of no use to
		// anybody. Another process may have put a good one there just now;
		// then that one is computed again.
		_ = os.Remove(path)
	}
	if err != nil {
		return nil, false
	}
	if now := time.Now(); now.Sub(used) > touchAfter {
		_ = os.Chtimes(path, now, now)
	}
	return value, true
}

// read returns the content of an entry's file and when it was last used.
func read(path string) ([]byte, time.Time, error) {
	// A pipe in the file's place would keep the opening waiting.
	if info, err := os.Lstat(path); err != nil {
		return nil, time.Time{}, err
	} else if !info.Mode().IsRegular() {
		return nil, time.Time{}, errDamaged
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if info.Size() > maxFile {
		return nil, time.Time{}, errDamaged
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, time.Time{}, err
	}
	return content, info.ModTime(), nil
}

// Put keeps value under key, in place of what was there before. An error says
// that it was not kept; the cache is as good as before.
func (c *Cache) Put(key string, value []byte) error {
	file, err := c.codec.encode(key, value)
	if err != nil {
		return err
	}
	if cost(int64(len(file))) > c.max {
		return fmt.Errorf("an entry of %d bytes does not fit into the cache of %d bytes", len(file), c.max)
	}
	if err := write(c.path(key), file); err != nil {
		return fmt.Errorf("writing to the cache: %w", err)
	}
	c.grown(cost(int64(len(file))))
	return nil
}

// write puts a file in place in one step.
func write(path string, content []byte) error {
	dir := filepath.Dir(path)
	for try := 0; ; try++ {
		err := writeInto(dir, path, content)
		if !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return err
		}
		// The directory is not there yet, or another process cleared the cache
		// in this moment.
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
}

func writeInto(dir, path string, content []byte) error {
	f, err := os.CreateTemp(dir, tempPrefix) // for its owner only
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	// The content is not synced to the disk: the checksum shows, after a
	// crash, that it is not whole.
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// grown notes what was written, and keeps the directory within its bound.
func (c *Cache) grown(bytes int64) {
	c.mu.Lock()
	c.added += bytes
	due := c.size < 0 || c.size+c.added > c.max || c.added > c.max/recountPart
	if !due || c.counting {
		c.mu.Unlock()
		return
	}
	c.counting = true
	seen := c.added
	c.mu.Unlock()

	size := c.evict()

	c.mu.Lock()
	c.size, c.added, c.counting = size, c.added-seen, false
	c.mu.Unlock()
}

// evict deletes the entries that were not used for the longest time when the
// directory is over its bound, and returns how many bytes are left. What cannot
// be deleted stays: the cache still works.
func (c *Cache) evict() int64 {
	var entries []entry
	var size int64
	err := c.walk(func(e entry) {
		if e.temp && time.Since(e.used) > staleAfter {
			_ = os.Remove(e.path)
			return
		}
		size += e.cost
		if !e.temp {
			entries = append(entries, e)
		}
	})
	if err != nil || size <= c.max {
		return size
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.path, b.path))
	})
	for _, e := range entries {
		if size <= c.max-c.max/evictPart {
			break
		}
		if err := os.Remove(e.path); err == nil || errors.Is(err, fs.ErrNotExist) {
			size -= e.cost
		}
	}
	return size
}

// Size is how many bytes the entries take on disk, of all processes.
func (c *Cache) Size() (int64, error) {
	var size int64
	err := c.walk(func(e entry) { size += e.cost })
	if err != nil {
		return 0, fmt.Errorf("counting the cache: %w", err)
	}
	return size, nil
}

// Clear deletes all entries, and nothing else that may lie in the directory.
func (c *Cache) Clear() error {
	var failed error
	dirs := map[string]bool{}
	err := c.walk(func(e entry) {
		dirs[filepath.Dir(e.path)] = true
		if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	})
	for dir := range dirs {
		_ = os.Remove(dir) // stays when something else is in it
	}
	c.mu.Lock()
	c.size, c.added = -1, 0
	c.mu.Unlock()
	if err := cmp.Or(err, failed); err != nil {
		return fmt.Errorf("clearing the cache: %w", err)
	}
	return nil
}

// entry is one file of the cache.
type entry struct {
	path string
	cost int64
	used time.Time
	temp bool
}

// cost is the room that a file takes on disk, in blocks of usual size.
func cost(size int64) int64 {
	const block = 4096
	return (size + block - 1) / block * block
}

// walk calls do for every file that is named like one of ours. A directory
// that vanishes meanwhile is no error.
func (c *Cache) walk(do func(entry)) error {
	dirs, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	visit := func(dir string, f fs.DirEntry) {
		temp := strings.HasPrefix(f.Name(), tempPrefix)
		if !temp && (dir == c.dir || !isHex(f.Name(), 2*sha256.Size-2)) {
			return
		}
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() {
			return // gone, or not ours
		}
		do(entry{filepath.Join(dir, f.Name()), cost(info.Size()), info.ModTime(), temp})
	}
	for _, d := range dirs {
		if !d.IsDir() || !isHex(d.Name(), 2) {
			visit(c.dir, d)
			continue
		}
		dir := filepath.Join(c.dir, d.Name())
		files, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, f := range files {
			visit(dir, f)
		}
	}
	return nil
}

func isHex(s string, length int) bool {
	return len(s) == length && strings.Trim(s, "0123456789abcdef") == ""
}
