// Package feed reads advisory databases into the advisory file. Today that is
// OSV (ossf.github.io/osv-schema), in the forms in which it is published: a zip
// per ecosystem, directories of records, single records.
package feed

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/advisory"
)

const (
	// maxDirectory bounds what is read of a zip's directory, which is held in
	// memory: room for 700,000 records, three times the bucket's largest.
	maxDirectory = 64 << 20
	// maxRatio of unpacked to packed bytes of a zip, from freeBytes on. Real
	// ones have 4 to 12.
	maxRatio  = 200
	freeBytes = 64 << 20
	// maxReasons of rejected records are kept for each source.
	maxReasons = 20

	batchRecords = 64
	batchBytes   = 4 << 20
)

// Progress of an import. Total is 0 where it is not known yet.
type Progress struct {
	Source      string
	Read, Total int
}

// ImportOSV adds OSV records to the advisory file at path, which is made when
// there is none. A source is a zip file, a JSON file or a directory, in which
// every .zip and .json file at any depth is read. The new file takes the place
// of the old one when all sources have been read; on any error the old one
// stays as it is.
//
// A record that cannot be used is rejected, counted and named in its source's
// Feed. A source that is unreadable, or of which no record can be used, is an
// error. Each directory of records counts as one source.
//
// progress, if not nil, is called from the calling goroutine.
func ImportOSV(ctx context.Context, path string, sources []string, progress func(Progress)) ([]advisory.Feed, error) {
	list, err := expand(sources)
	if err != nil {
		return nil, err
	}
	b, err := advisory.Extend(ctx, path)
	if err != nil {
		return nil, err
	}
	defer b.Abort()
	now := time.Now().UTC().Truncate(time.Second)
	var feeds []advisory.Feed
	for _, s := range list {
		f, err := importSource(ctx, b, s, now, progress)
		if err != nil {
			return nil, fmt.Errorf("importing %s: %w", s.name, err)
		}
		if err := b.AddFeed(ctx, f); err != nil {
			return nil, err
		}
		feeds = append(feeds, f)
	}
	return feeds, b.Commit()
}

// A source is a zip file, or JSON files that count as one source.
type source struct {
	name  string
	isZip bool
}

// expand finds the sources in what the caller named, in a fixed order, each
// once.
func expand(names []string) ([]source, error) {
	var list []source
	seen := map[string]bool{}
	add := func(s source) {
		if !seen[s.name] {
			seen[s.name] = true
			list = append(list, s)
		}
	}
	for _, name := range names {
		name = filepath.Clean(name)
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("importing advisories: %w", err)
		}
		if !info.IsDir() {
			isZip, err := looksLikeZip(name)
			if err != nil {
				return nil, fmt.Errorf("importing advisories: %w", err)
			}
			add(source{name, isZip})
			continue
		}
		found := false
		err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir():
			case strings.HasSuffix(path, ".zip"):
				found = true
				add(source{path, true})
			case strings.HasSuffix(path, ".json"):
				found = true
				add(source{filepath.Dir(path), false})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("importing advisories: %w", err)
		}
		if !found {
			return nil, plimsoll.WithHint(fmt.Errorf("importing advisories: no .zip or .json file in %s", name),
				"name a directory that holds OSV zips or records")
		}
	}
	return list, nil
}

func looksLikeZip(path string) (bool, error) {
	if strings.HasSuffix(path, ".zip") {
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [2]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "PK", nil
}

// importSource reads all records of s into b. Reading and parsing is spread
// over the processors; records enter the file in the source's own order, so
// that the same sources always make the same file.
func importSource(ctx context.Context, b *advisory.Builder, s source, now time.Time, progress func(Progress)) (advisory.Feed, error) {
	t := tally{
		feed:     advisory.Feed{Name: "osv", Source: s.name, Imported: now, Notes: map[string]int{}},
		licences: map[string]bool{},
	}
	list, err := s.open()
	if err != nil {
		return t.feed, err
	}
	defer list.close()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	// Every batch goes into both channels: workers take from one, the other
	// keeps the order. Their capacity bounds what is in memory.
	workers := runtime.GOMAXPROCS(0)
	work, order := make(chan batch, workers), make(chan batch, workers)
	group.Go(func() error {
		defer close(work)
		defer close(order)
		for start := 0; start < list.len; {
			end, size := start, int64(0)
			for end < list.len && end-start < batchRecords && (end == start || size+list.size(end) <= batchBytes) {
				size += list.size(end)
				end++
			}
			bt := batch{start, end, make(chan []result, 1)}
			for _, to := range []chan batch{order, work} {
				select {
				case to <- bt:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			start = end
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for bt := range work {
				results := make([]result, 0, bt.end-bt.start)
				for i := bt.start; i < bt.end; i++ {
					r, err := list.read(i, now)
					if err != nil {
						return err
					}
					results = append(results, r)
				}
				bt.results <- results
			}
			return nil
		})
	}
	err = func() error {
		for bt := range order {
			select {
			case results := <-bt.results:
				for _, r := range results {
					if err := t.take(ctx, b, r); err != nil {
						return err
					}
				}
			case <-ctx.Done():
				return ctx.Err()
			}
			if progress != nil {
				progress(Progress{s.name, t.feed.Read, list.len})
			}
		}
		return nil
	}()
	stop()
	if first := group.Wait(); first != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = first
	}
	if err != nil {
		return t.feed, err
	}
	return t.result()
}

type batch struct {
	start, end int
	results    chan []result
}

// result is what one document came to: a record, a reason, or neither when it
// is no record at all.
type result struct {
	name   string
	parsed *parsed
	reason error
	skip   bool
}

// tally counts the results of one source.
type tally struct {
	feed     advisory.Feed
	licences map[string]bool
}

func (t *tally) take(ctx context.Context, b *advisory.Builder, r result) error {
	f := &t.feed
	if r.skip {
		f.Notes[noteFile]++
		return nil
	}
	f.Read++
	if r.reason != nil {
		f.Rejected++
		if len(f.Reasons) < maxReasons {
			f.Reasons = append(f.Reasons, fmt.Sprintf("%s: %v", clip(r.name), r.reason))
		}
		return nil
	}
	adv := &r.parsed.advisory
	kept, err := b.Add(ctx, adv)
	if err != nil {
		return err
	}
	if !kept {
		f.Older++
		return nil
	}
	f.Kept++
	if !adv.Withdrawn.IsZero() {
		f.Withdrawn++
	}
	for _, n := range r.parsed.notes {
		f.Notes[n]++
	}
	if adv.Modified.After(f.Data) && !adv.Modified.After(f.Imported) {
		f.Data = adv.Modified
	}
	if l := r.parsed.licence; l != "" {
		t.licences[l] = true
	}
	return nil
}

func (t *tally) result() (advisory.Feed, error) {
	f := t.feed
	f.Licences = slices.Sorted(maps.Keys(t.licences))
	if f.Data.Year() < 1990 {
		f.Data = time.Time{}
	}
	switch {
	case f.Read == 0:
		return f, errors.New("it holds no OSV records")
	case f.Rejected == f.Read && f.Read == 1:
		return f, errors.New(f.Reasons[0])
	case f.Rejected == f.Read:
		return f, fmt.Errorf("none of its %d records can be used; the first: %s", f.Read, f.Reasons[0])
	}
	return f, nil
}

// documents are the files of one source, not read yet.
type documents struct {
	len    int
	name   func(i int) string
	size   func(i int) int64 // as declared
	reader func(i int) (io.ReadCloser, error)
	close  func()
	// budget of unpacked bytes that are left; nil for no limit.
	budget *atomic.Int64
}

func (s source) open() (*documents, error) {
	if s.isZip {
		return openZip(s.name, maxDirectory)
	}
	var files []string
	if info, err := os.Stat(s.name); err != nil {
		return nil, err
	} else if !info.IsDir() {
		files = []string{s.name}
	} else {
		entries, err := os.ReadDir(s.name)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && strings.HasSuffix(e.Name(), ".json") {
				files = append(files, filepath.Join(s.name, e.Name()))
			}
		}
	}
	return &documents{
		len:    len(files),
		name:   func(i int) string { return filepath.Base(files[i]) },
		size:   func(i int) int64 { return batchBytes / batchRecords },
		reader: func(i int) (io.ReadCloser, error) { return os.Open(files[i]) },
		close:  func() {},
	}, nil
}

func openZip(path string, most int64) (*documents, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	directory := &meteredReader{r: f, left: most}
	z, err := zip.NewReader(directory, info.Size())
	if err != nil {
		defer f.Close()
		start := make([]byte, 64)
		n, _ := f.ReadAt(start, 0)
		switch {
		case directory.left < 0:
			err = fmt.Errorf("the zip's directory is larger than %d bytes", most)
		case bytes.HasPrefix(bytes.TrimLeft(start[:n], " \r\n\t\xef\xbb\xbf"), []byte("<")):
			err = errors.New("HTML or XML instead of a zip")
		default:
			err = fmt.Errorf("not a whole zip of %d bytes: %w", info.Size(), err)
		}
		return nil, plimsoll.WithHint(err, "download the file again")
	}
	directory.left = math.MaxInt64
	d := &documents{
		len:    len(z.File),
		name:   func(i int) string { return z.File[i].Name },
		size:   func(i int) int64 { return int64(min(z.File[i].UncompressedSize64, maxRecord)) },
		reader: func(i int) (io.ReadCloser, error) { return z.File[i].Open() },
		close:  func() { f.Close() },
		budget: new(atomic.Int64),
	}
	d.budget.Store(freeBytes + maxRatio*info.Size())
	return d, nil
}

// meteredReader refuses after so many bytes. zip.NewReader holds in memory what
// it reads, so that its memory is bounded, too.
type meteredReader struct {
	r    io.ReaderAt
	left int64
}

func (m *meteredReader) ReadAt(p []byte, at int64) (int, error) {
	if m.left == math.MaxInt64 { // opened: from here on used by many at once
		return m.r.ReadAt(p, at)
	}
	if m.left -= int64(len(p)); m.left < 0 {
		return 0, errors.New("limit reached")
	}
	return m.r.ReadAt(p, at)
}

// read reads and parses document i. The error is one that ends the import.
func (d *documents) read(i int, now time.Time) (result, error) {
	r := result{name: d.name(i)}
	if !strings.HasSuffix(r.name, ".json") && d.len > 1 {
		r.skip = true
		return r, nil
	}
	data, reason := d.bytes(i)
	if d.budget != nil && d.budget.Add(-int64(len(data))) < 0 {
		return r, fmt.Errorf("it unpacks to more than %d times its size", maxRatio)
	}
	if reason != nil {
		r.reason = reason
	} else {
		r.parsed, r.reason = parseOSV(data, now)
	}
	return r, nil
}

func (d *documents) bytes(i int) ([]byte, error) {
	f, err := d.reader(i)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	// The declared size is a hint only: one that lies costs no memory.
	b.Grow(int(min(d.size(i), 1<<20)) + bytes.MinRead)
	_, err = io.Copy(&b, io.LimitReader(f, maxRecord+1))
	if err == nil && b.Len() > maxRecord {
		err = fmt.Errorf("larger than %d MiB", maxRecord>>20)
	}
	return b.Bytes(), err
}
