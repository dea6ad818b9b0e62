package analyze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/tarstream"
)

const (
	// longestPath is Linux's PATH_MAX: no runtime can create a longer name.
	longestPath = 4096
	// deepestPath bounds what one name costs; real ones are a tenth as deep.
	deepestPath = 255
	// mostLinks are kept of one layer's symbolic links, mostGaps of its gaps.
	mostLinks = 200_000
	mostGaps  = 1000
	// mostLinkBytes are held of the names and targets of one layer's symbolic
	// links, and as many of its hard links; linkCost is what each costs beside.
	mostLinkBytes = 16 << 20
	linkCost      = 100
	// mostLooked files are remembered in case a hard link to one follows. Of
	// the others only the name of such a link is known.
	mostLooked = 20_000
	// mostFound files of one layer in which something was found are kept: some
	// 2 KiB each. The fullest real layers have a fifth of that.
	mostFound = 50_000
)

// Layers reads layers with a fixed set of detectors. Its methods may be called
// by several goroutines at once.
type Layers struct {
	Detectors []Detector
	Limits    plimsoll.Limits
	Spool     *Spool
}

// Read reads one layer whole: every entry, and with every detector the files
// that it wants. again opens the same layer once more, or is nil; it is used
// when a file that a detector wants is a hard link to content that had already
// passed by. The report's DiffID is the caller's to set.
//
// An error means that the layer could not be read to its end; trouble with
// single files becomes a Gap in the report.
func (l *Layers) Read(ctx context.Context, files tarstream.Files, again func() (tarstream.Files, func(), error)) (*Report, error) {
	p := &pass{
		Layers:  l,
		content: content{limits: l.Limits, spool: l.Spool},
		report:  &Report{},
		looked:  map[string]looked{},
	}
	if err := p.run(ctx, files); err != nil {
		return nil, err
	}
	if err := p.hardLinks(ctx, again); err != nil {
		return nil, err
	}
	return p.finish(), nil
}

// pass is the reading of one layer.
type pass struct {
	*Layers
	content content
	report  *Report
	names   names
	entry   int // number of the current entry
	found   []found
	looked  map[string]looked // files that some detector wanted, by path
	links   []hardLink
	dropped int // gaps beyond mostGaps
	kept    int // files in which something was found, also those beyond mostFound

	symbolicBytes, hardBytes int // of report.Links and links

	file plimsoll.File

	lastDir, lastReal string // the last result of resolve
}

type found struct {
	at int
	FileReport
}

// looked is what is remembered of a file in case a hard link to it follows.
type looked struct {
	size int64
	head []byte
}

type hardLink struct {
	path, target string
	at           int
}

func (p *pass) gap(kind plimsoll.GapKind, path, detector, reason string) {
	if len(p.report.Gaps) >= mostGaps {
		p.dropped++
		return
	}
	p.report.Gaps = append(p.report.Gaps, plimsoll.Gap{Kind: kind, Layer: plimsoll.NoLayer, Path: path, Detector: detector, Reason: reason})
}

func (p *pass) run(ctx context.Context, files tarstream.Files) error {
	for ; ; p.entry++ {
		e, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(e.Path) > longestPath {
			p.gap(plimsoll.Unreadable, e.Path[:200]+"…", "", "the name is longer than any Linux allows; the entry was left out")
			continue
		}
		if strings.Count(e.Path, "/") > deepestPath {
			p.gap(plimsoll.Unreadable, e.Path[:200]+"…", "", fmt.Sprintf("the name is more than %d directories deep; the entry was left out", deepestPath))
			continue
		}
		if e.Escapes {
			p.gap(plimsoll.Unreadable, e.Path, "", "the entry's name climbs out of the image's root; it was read as if it could not")
		}
		e.Path = p.resolve(e.Path)
		// The stream bounds its entries, but not the directories in their names.
		if int64(len(p.names.seen))/3*2 > p.Limits.Entries {
			return &tarstream.LimitError{What: fmt.Sprintf("its entries name more than %d files and directories", p.Limits.Entries/2*3), Flag: "--max-entries"}
		}
		if e.Kind != tarstream.Whiteout && e.Kind != tarstream.Opaque {
			delete(p.report.Links, e.Path) // what stood there in this layer
		}
		switch e.Kind {
		case tarstream.Dir:
			p.names.add(e.Path, hidesItself, p.entry, true)
			continue
		case tarstream.Whiteout:
			p.names.add(e.Path, hidesItself|hidesBelow, p.entry, false)
			continue
		case tarstream.Opaque:
			p.names.add(e.Path, hidesBelow, p.entry, false)
			continue
		}
		p.names.add(e.Path, hidesItself|hidesBelow, p.entry, true)
		switch e.Kind {
		case tarstream.Symlink:
			p.link(e)
		case tarstream.Hardlink:
			p.hardLink(e)
		case tarstream.Regular:
			if err := p.look(ctx, files, e, alias{e.Path, p.entry}); err != nil {
				return err
			}
		}
	}
}

func (p *pass) link(e *tarstream.Entry) {
	if len(e.Link) > longestPath {
		p.gap(plimsoll.Unreadable, e.Path, "", "the symbolic link's target is longer than any Linux allows")
		return
	}
	p.symbolicBytes += len(e.Path) + len(e.Link) + linkCost
	if len(p.report.Links) >= mostLinks || p.symbolicBytes > mostLinkBytes {
		p.gap(plimsoll.Limited, e.Path, "", fmt.Sprintf("more than %d symbolic links in one layer, or %d MiB of them; packages' files behind the others have no known owner", mostLinks, mostLinkBytes>>20))
		return
	}
	if p.report.Links == nil {
		p.report.Links = map[string]string{}
	}
	p.report.Links[e.Path] = e.Link
	p.lastDir = ""
}

func (p *pass) hardLink(e *tarstream.Entry) {
	if len(e.Link) > longestPath {
		p.gap(plimsoll.Unreadable, e.Path, "", "the hard link's target is longer than any Linux allows")
		return
	}
	p.hardBytes += len(e.Path) + len(e.Link) + linkCost
	if p.hardBytes > mostLinkBytes {
		p.gap(plimsoll.Limited, e.Path, "", fmt.Sprintf("more than %d MiB of hard links in one layer; the others were not looked into", mostLinkBytes>>20))
		return
	}
	p.links = append(p.links, hardLink{e.Path, p.resolve(e.Link), p.entry})
}

// resolve follows symbolic links that this layer has put in place of the
// directories above name, as a runtime does that unpacks entry by entry.
func (p *pass) resolve(name string) string {
	if len(p.report.Links) == 0 {
		return name
	}
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name
	}
	dir := name[:i]
	if dir != p.lastDir {
		p.lastDir, p.lastReal = dir, followLinks(p.report.Links, dir)
	}
	if p.lastReal == dir {
		return name
	}
	return strings.TrimPrefix(p.lastReal+name[i:], "/")
}

// followLinks resolves every symbolic link on the way to dir and dir itself,
// inside the root that links describes. A loop leaves the rest as it is.
func followLinks(links map[string]string, dir string) string {
	const most = 40 // as Linux does
	followed := 0
	for end := 0; end <= len(dir); end++ {
		if end < len(dir) && dir[end] != '/' {
			continue
		}
		target, ok := links[dir[:end]]
		if !ok {
			continue
		}
		if followed++; followed > most || len(target)+len(dir) > longestPath {
			return dir
		}
		if !strings.HasPrefix(target, "/") {
			target = path.Dir("/"+dir[:end]) + "/" + target
		}
		dir = strings.TrimPrefix(path.Join("/", target, dir[end:]), "/")
		end = -1
	}
	return dir
}

// alias is one name of the current entry's content.
type alias struct {
	path string
	at   int // number of the entry that gives the name
}

// look shows the current entry, a regular file, to every detector that wants
// it under one of its names. Only what ends the whole scan is an error.
func (p *pass) look(ctx context.Context, files tarstream.Files, e *tarstream.Entry, names ...alias) error {
	var section *io.SectionReader
	defer p.content.release()
	for _, name := range names {
		f := &p.file // not a variable: it would cost an allocation for every file
		*f = e.File
		f.Path, f.Base = name.path, base(name.path)
		for _, d := range p.Detectors {
			if !d.Wants(f) {
				continue
			}
			if section == nil {
				if len(p.looked) < mostLooked {
					p.looked[e.Path] = looked{e.Size, slices.Clone(e.Head)}
				}
				var err error
				if section, err = p.content.open(ctx, files, e); err != nil {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					// The machine's trouble is none of the layer's: a gap
					// would be kept with the layer's report.
					if _, ok := errors.AsType[*spoolError](err); ok {
						return plimsoll.WithHint(err, "make room for temporary files, or name another directory for them in TMPDIR")
					}
					kind := plimsoll.Unreadable
					if errors.Is(err, errLimit) {
						kind = plimsoll.Limited
					}
					p.gap(kind, f.Path, d.Name(), err.Error())
					return nil // a broken stream says so again at the next entry
				}
			}
			got, err := d.Detect(ctx, f, io.NewSectionReader(section, 0, section.Size()))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				got = &plimsoll.Found{Gaps: []plimsoll.Gap{{Kind: plimsoll.Unreadable, Reason: err.Error()}}}
			}
			p.keep(found{name.at, report(f, d, got)})
		}
	}
	return nil
}

// keep adds what was found in one file, as long as there is room.
func (p *pass) keep(f found) {
	if !isEmpty(&f.Found) {
		if p.kept++; p.kept > mostFound {
			return
		}
	}
	p.found = append(p.found, f)
}

// report fills in what a detector need not say.
func report(f *plimsoll.File, d Detector, got *plimsoll.Found) FileReport {
	r := FileReport{Path: f.Path, Detector: d.Name()}
	if got != nil {
		r.Found = *got
	}
	for i := range r.Found.Components {
		c := &r.Found.Components[i]
		c.Detector = r.Detector
		if len(c.Paths) == 0 {
			c.Paths = []string{f.Path}
		}
	}
	for i := range r.Found.Gaps {
		g := &r.Found.Gaps[i]
		g.Detector = r.Detector
		if g.Path == "" {
			g.Path = f.Path
		}
	}
	return r
}

// hardLinks gives the layer's hard links what was found in their targets. A
// link whose name a detector wants, while it did not want the target's, needs
// a second look at the layer: package managers that keep one copy of each file
// in a store of hashed names make such links.
func (p *pass) hardLinks(ctx context.Context, again func() (tarstream.Files, func(), error)) error {
	first := map[string]string{} // the entry with the content, by link
	pending := map[string][]alias{}
	byTarget := map[string][]FileReport{}
	if len(p.links) > 0 {
		for _, f := range p.found {
			byTarget[f.Path] = append(byTarget[f.Path], f.FileReport)
		}
	}
	for _, link := range p.links {
		target := link.target
		if t, ok := first[target]; ok {
			target = t
		}
		first[link.path] = target
		f := plimsoll.File{Path: link.path, Base: base(link.path), Size: 1}
		old, seen := p.looked[target]
		if seen {
			f.Size, f.Head = old.size, old.head
		}
	detectors:
		for _, d := range p.Detectors {
			if !d.Wants(&f) {
				continue
			}
			for _, r := range byTarget[target] {
				if r.Detector == d.Name() {
					p.keep(found{link.at, renamed(r, link.path)})
					continue detectors
				}
			}
			if !slices.Contains(pending[target], alias{link.path, link.at}) {
				pending[target] = append(pending[target], alias{link.path, link.at})
			}
		}
	}
	if len(pending) == 0 {
		return nil
	}
	if again != nil {
		files, done, err := again()
		if err != nil {
			return err
		}
		defer done()
		for {
			e, err := files.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			e.Path = p.resolve(e.Path)
			if names := pending[e.Path]; e.Kind == tarstream.Regular && names != nil {
				delete(pending, e.Path)
				if err := p.look(ctx, files, e, names...); err != nil {
					return err
				}
			}
		}
	}
	why := "a hard link to a file that the layer does not have: "
	if again == nil {
		why = "a hard link to content that had passed by in the stream under another name: "
	}
	for _, target := range slices.Sorted(maps.Keys(pending)) {
		for _, name := range pending[target] {
			p.gap(plimsoll.Unreadable, name.path, "", why+target)
		}
	}
	return nil
}

// renamed is r for the same content under another name.
func renamed(r FileReport, path string) FileReport {
	rename := func(s string) string {
		if rest, ok := strings.CutPrefix(s, r.Path); ok && (rest == "" || rest[0] == '!') {
			return path + rest
		}
		return s
	}
	r.Found.Components = slices.Clone(r.Found.Components)
	for i := range r.Found.Components {
		c := &r.Found.Components[i]
		c.Paths = slices.Clone(c.Paths)
		for j := range c.Paths {
			c.Paths[j] = rename(c.Paths[j])
		}
	}
	r.Found.Gaps = slices.Clone(r.Found.Gaps)
	for i := range r.Found.Gaps {
		r.Found.Gaps[i].Path = rename(r.Found.Gaps[i].Path)
	}
	r.Path = path
	return r
}

// finish keeps of each name what its last entry in the layer says.
func (p *pass) finish() *Report {
	p.names.sort()
	for _, f := range p.found {
		if !isEmpty(&f.Found) && !p.names.replaced(nameHash(f.Path), uint32(f.at)) {
			p.report.Files = append(p.report.Files, f.FileReport)
		}
	}
	slices.SortFunc(p.report.Files, func(a, b FileReport) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Detector, b.Detector))
	})
	p.report.Hides = p.names.hides()
	if p.kept > mostFound {
		p.report.Gaps = append(p.report.Gaps, plimsoll.Gap{
			Kind: plimsoll.Limited, Layer: plimsoll.NoLayer,
			Reason: fmt.Sprintf("components in %d more files; of one layer the first %d files with components are listed", p.kept-mostFound, mostFound),
		})
	}
	if p.dropped > 0 {
		p.report.Gaps = append(p.report.Gaps, plimsoll.Gap{
			Kind: plimsoll.Limited, Layer: plimsoll.NoLayer,
			Reason: fmt.Sprintf("%d more parts of this layer could not be read; the first %d are listed", p.dropped, mostGaps),
		})
	}
	return p.report
}

// isEmpty: a detector looked, and it was none of its kind.
func isEmpty(f *plimsoll.Found) bool {
	return len(f.Components)+len(f.Owned)+len(f.Licenses)+len(f.Gaps) == 0 && f.Distro == nil
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
