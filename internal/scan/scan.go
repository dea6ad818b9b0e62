// Package scan is the line that an image goes through: opened, its layers
// analyzed or taken from the cache, merged into a bill of materials, matched
// against the advisories. It is the only place that knows the order.
package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/advisory"
	"github.com/plimsoll/plimsoll/internal/analyze"
	"github.com/plimsoll/plimsoll/internal/cache"
	"github.com/plimsoll/plimsoll/internal/detect/langpkg"
	"github.com/plimsoll/plimsoll/internal/detect/ospkg"
	"github.com/plimsoll/plimsoll/internal/image"
	"github.com/plimsoll/plimsoll/internal/match"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

// Detectors are all of them, in the order in which they are asked.
func Detectors(l plimsoll.Limits) []analyze.Detector {
	return []analyze.Detector{
		ospkg.Release{}, ospkg.Dpkg{}, ospkg.Apk{}, ospkg.RPM{},
		langpkg.NPM{}, langpkg.Python{}, langpkg.Go{}, langpkg.Java{Limits: l}, langpkg.Ruby{},
		langpkg.PHP{}, langpkg.DotNet{}, langpkg.Rust{}, langpkg.NewScalibr(),
	}
}

// Scanner scans images. It may be used by several goroutines at once.
type Scanner struct {
	Image image.Options
	// Parallel layers of one image at most; at least 1.
	Parallel int
	// Cache of layer reports; nil for none.
	Cache *cache.Cache
	// Progress, if not nil, is told of every part of a layer that was read, in
	// bytes, by several goroutines at once.
	Progress func(n int)
	// Warn is told of trouble that does not change the result, such as a
	// cache that cannot be written.
	Warn func(error)

	key    string
	layers *analyze.Layers
}

// New prepares a scanner; change its fields before its first use only.
func New(o image.Options) *Scanner {
	detectors := Detectors(o.Limits)
	return &Scanner{
		Image:    o,
		Parallel: 2,
		Warn:     func(error) {},
		key:      analyze.Key(detectors, o.Limits),
		layers:   &analyze.Layers{Detectors: detectors, Limits: o.Limits, Spool: analyze.NewSpool(o.Limits.Spool)},
	}
}

// BOMs makes the bill of materials of the image called name: one, or one for
// each platform where Image.AllPlatforms asks for them.
func (s *Scanner) BOMs(ctx context.Context, name string) ([]*plimsoll.BOM, error) {
	images, err := image.Open(ctx, name, s.Image)
	if err != nil {
		return nil, err
	}
	var boms []*plimsoll.BOM
	for _, img := range images {
		bom := img.BOM
		if bom != nil {
			complete(bom)
		} else if bom, err = s.read(ctx, img); err != nil {
			return nil, fmt.Errorf("%s: %w", img.Name, err)
		}
		boms = append(boms, bom)
	}
	return boms, nil
}

// complete gives the OS packages of another tool's document the ecosystem of
// their distribution; their package URLs stay as they are.
func complete(b *plimsoll.BOM) {
	for i := range b.Components {
		if c := &b.Components[i]; c.IsOS() && c.Ecosystem == "" {
			ours := *c
			ospkg.Complete(&ours, b.Distro)
			c.Ecosystem = ours.Ecosystem
		}
	}
}

// read takes the image's layers from the cache or from its source.
func (s *Scanner) read(ctx context.Context, img *image.Image) (*plimsoll.BOM, error) {
	reports := reports{cache: s.Cache, key: s.key, warn: s.Warn, known: map[plimsoll.Digest]*analyze.Report{}}
	facts, err := img.Read(ctx, image.Reader{
		Parallel: s.Parallel,
		Have:     func(diffID plimsoll.Digest) bool { return reports.get(diffID) != nil },
		Layer: func(ctx context.Context, l *image.Layer) (plimsoll.Digest, error) {
			report, err := s.layer(ctx, l)
			if err != nil {
				return "", err
			}
			reports.put(report)
			return report.DiffID, nil
		},
	})
	if err != nil {
		return nil, err
	}
	list := make([]*analyze.Report, len(facts.Layers))
	for i, l := range facts.Layers {
		if list[i] = reports.get(l.DiffID); list[i] == nil {
			return nil, fmt.Errorf("layer %d (%s) was not read", i, l.DiffID)
		}
	}
	return analyze.Merge(facts, list), nil
}

// layer analyzes one layer.
func (s *Scanner) layer(ctx context.Context, l *image.Layer) (*analyze.Report, error) {
	if l.Files != nil {
		report, err := s.layers.Read(ctx, l.Files, nil)
		if err == nil && l.Gaps != nil {
			report.Gaps = append(report.Gaps, l.Gaps()...)
		}
		return report, err
	}
	open := func(r io.Reader) (*tarstream.Stream, error) {
		return tarstream.Open(ctx, r, tarstream.Options{Label: l.Label, Digest: l.Digest, DiffID: l.DiffID, At: l.At, Limits: s.Image.Limits})
	}
	stream, err := open(&metered{l.Stored, s.Progress})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var again func() (tarstream.Files, func(), error)
	if l.Again != nil {
		again = func() (tarstream.Files, func(), error) {
			r, err := l.Again(ctx)
			if err != nil {
				return nil, nil, err
			}
			second, err := open(r)
			if err != nil {
				return nil, nil, errors.Join(err, r.Close())
			}
			return second, func() { second.Close(); r.Close() }, nil
		}
	}
	report, err := s.layers.Read(ctx, stream, again)
	if limit, ok := errors.AsType[*tarstream.LimitError](err); ok && limit.Label == "" {
		limit.Label = l.Label
	}
	if err != nil {
		return nil, err
	}
	report.DiffID = stream.DiffID()
	return report, nil
}

// metered tells how much is read.
type metered struct {
	io.Reader
	progress func(int)
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	if m.progress != nil {
		m.progress(n)
	}
	return n, err
}

// reports are the layer reports at hand, in memory and in the cache.
type reports struct {
	cache *cache.Cache
	key   string
	warn  func(error)
	mu    sync.Mutex
	known map[plimsoll.Digest]*analyze.Report
}

func (r *reports) get(diffID plimsoll.Digest) *analyze.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if report := r.known[diffID]; report != nil {
		return report
	}
	if r.cache == nil || diffID == "" {
		return nil
	}
	stored, ok := r.cache.Get(r.cacheKey(diffID))
	if !ok {
		return nil
	}
	report, err := analyze.DecodeReport(stored)
	if err != nil || report.DiffID != diffID {
		r.warn(fmt.Errorf("cache: the report of layer %s is damaged; reading the layer again", diffID.Short()))
		return nil
	}
	r.known[diffID] = report
	return report
}

func (r *reports) put(report *analyze.Report) {
	r.mu.Lock()
	r.known[report.DiffID] = report
	r.mu.Unlock()
	if r.cache == nil || report.DiffID == "" {
		return
	}
	stored, err := report.Encode()
	if err == nil {
		err = r.cache.Put(r.cacheKey(report.DiffID), stored)
	}
	if err != nil {
		r.warn(fmt.Errorf("cache: %w; going on without it", err))
	}
}

func (r *reports) cacheKey(diffID plimsoll.Digest) string { return r.key + " " + string(diffID) }

// Match compares a bill of materials with the advisories; a nil db leaves one
// Gap that says so.
func Match(ctx context.Context, db *advisory.DB, bom *plimsoll.BOM) (*plimsoll.Result, error) {
	result := &plimsoll.Result{BOM: *bom, Findings: []plimsoll.Finding{}}
	if db == nil {
		result.Gaps = append(result.Gaps, plimsoll.Gap{
			Kind: plimsoll.Unassessed, Layer: plimsoll.NoLayer,
			Reason: "there is no advisory file, so nothing was compared with known vulnerabilities",
		})
		return result, nil
	}
	findings, gaps, err := match.Match(ctx, db, bom)
	if err != nil {
		return nil, err
	}
	result.Findings = append(result.Findings, findings...)
	result.Gaps = append(gaps, result.Gaps...) // those of the image as a whole come first
	feeds, err := db.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range feeds {
		result.Feeds = append(result.Feeds, plimsoll.Feed{Name: f.Name, Source: f.Source, Imported: f.Imported, Newest: f.Data, Records: f.Kept})
	}
	return result, nil
}
