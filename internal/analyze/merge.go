package analyze

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/detect/ospkg"
)

// Merge puts the reports of an image's layers, lowest first and one for each
// of img.Layers, on top of each other: the bill of what a container made from
// the image would really see.
func Merge(img plimsoll.Image, reports []*Report) *plimsoll.BOM {
	m := merge{img: img, files: map[fileKey]*file{}, links: map[string]*link{}}
	for i, r := range reports {
		m.layer(i, r)
	}
	return m.bom()
}

type fileKey struct{ path, detector string }

// file is one FileReport that is visible so far.
type file struct {
	FileReport
	layer int      // that wrote it
	names []uint64 // nameHashes of Path
	since []int    // the layer that introduced each of Found.Components
}

type link struct {
	target string
	names  []uint64
}

type merge struct {
	img     plimsoll.Image
	files   map[fileKey]*file
	links   map[string]*link
	history []former
	gaps    []plimsoll.Gap
}

// former is a component that is gone, and what came in its place, if anything.
type former struct {
	plimsoll.Component
	by *plimsoll.Component
}

// same tells components apart inside one file.
type same struct{ name, version, architecture, ecosystem string }

func sameness(c *plimsoll.Component) same {
	return same{c.Name, c.Version, c.Architecture, c.Ecosystem}
}

// layer puts one more report on top.
func (m *merge) layer(index int, r *Report) {
	gone := map[fileKey]*file{}
	for key, f := range m.files {
		if r.Hides.hide(f.names) {
			gone[key] = f
			delete(m.files, key)
		}
	}
	for path, l := range m.links {
		if r.Hides.hide(l.names) {
			delete(m.links, path)
		}
	}
	for path, target := range r.Links {
		m.links[path] = &link{target, nameHashes(path)}
	}
	for _, g := range r.Gaps {
		m.gaps = append(m.gaps, m.place(g, index))
	}

	// A component that the layer writes again as it was stays the lower
	// layer's; what comes new may be what another one was upgraded to.
	arrived := map[string][]plimsoll.Component{}
	for _, fr := range r.Files {
		key := fileKey{fr.Path, fr.Detector}
		f := &file{FileReport: fr, layer: index, names: nameHashes(fr.Path), since: make([]int, len(fr.Found.Components))}
		before := map[same]int{}
		if old := gone[key]; old != nil {
			for i := range old.Found.Components {
				before[sameness(&old.Found.Components[i])] = old.since[i]
			}
		}
		for i := range fr.Found.Components {
			c := &fr.Found.Components[i]
			since, was := before[sameness(c)]
			if !was {
				since = index
				arrived[c.Detector+" "+c.Name] = append(arrived[c.Detector+" "+c.Name], *c)
			}
			f.since[i] = since
		}
		m.files[key] = f
	}
	for key, old := range gone {
		kept := map[same]bool{}
		if f := m.files[key]; f != nil {
			for i := range f.Found.Components {
				kept[sameness(&f.Found.Components[i])] = true
			}
		}
		for i := range old.Found.Components {
			c := old.Found.Components[i]
			if kept[sameness(&c)] {
				continue
			}
			c.Layer = old.since[i]
			c.Removed = &plimsoll.Removal{Layer: index}
			gone := former{Component: c}
			for _, other := range arrived[c.Detector+" "+c.Name] {
				if other.Architecture == c.Architecture && sameness(&other) != sameness(&c) {
					gone.by = &other
					break
				}
			}
			m.history = append(m.history, gone)
		}
	}
}

// place says which layer a gap is of.
func (m *merge) place(g plimsoll.Gap, index int) plimsoll.Gap {
	g.Layer, g.DiffID = index, m.img.Layers[index].DiffID
	return g
}

// bom gathers what is visible at the top.
func (m *merge) bom() *plimsoll.BOM {
	b := &plimsoll.BOM{Image: m.img, Gaps: m.gaps}
	files := slices.SortedFunc(maps.Values(m.files), func(x, y *file) int {
		return cmp.Or(cmp.Compare(x.Path, y.Path), cmp.Compare(x.Detector, y.Detector))
	})
	var distros []*plimsoll.Distro
	for _, f := range files {
		if f.Found.Distro != nil {
			distros = append(distros, f.Found.Distro)
		}
		for _, g := range f.Found.Gaps {
			b.Gaps = append(b.Gaps, m.place(g, f.layer))
		}
	}
	b.Distro = ospkg.BestDistro(distros)

	for _, f := range files {
		for i, c := range f.Found.Components {
			c.Layer = f.since[i]
			b.Components = append(b.Components, c)
		}
	}
	for _, gone := range m.history {
		if by := gone.by; by != nil {
			if by.IsOS() {
				ospkg.Complete(by, b.Distro)
			}
			gone.Removed.By = by.PURL
		}
		b.History = append(b.History, gone.Component)
	}
	licenses := map[string][]string{}
	for _, f := range files {
		for _, l := range f.Found.Licenses {
			licenses[l.Package] = l.Licenses
		}
	}
	for _, list := range [][]plimsoll.Component{b.Components, b.History} {
		for i := range list {
			c := &list[i]
			if c.IsOS() {
				ospkg.Complete(c, b.Distro)
				if len(c.Licenses) == 0 {
					c.Licenses = licenses[c.Name]
				}
			}
			c.DiffID, c.Step = m.img.Layers[c.Layer].DiffID, m.img.Layers[c.Layer].Step
			if r := c.Removed; r != nil {
				r.DiffID, r.Step = m.img.Layers[r.Layer].DiffID, m.img.Layers[r.Layer].Step
			}
		}
	}
	m.own(b, files)
	if reason := blank(b, files); reason != "" {
		b.Gaps = append(b.Gaps, plimsoll.Gap{Kind: plimsoll.Unsupported, Layer: plimsoll.NoLayer, Reason: reason})
	}
	b.Components, b.History = group(b.Components), group(b.History)
	slices.SortFunc(b.Gaps, func(x, y plimsoll.Gap) int {
		return cmp.Or(cmp.Compare(x.Layer, y.Layer), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Detector, y.Detector), cmp.Compare(x.Reason, y.Reason))
	})
	return b
}

// blank says why a bill that lists too little must not be taken for a clean one.
func blank(b *plimsoll.BOM, files []*file) string {
	if len(b.Components) == 0 && len(b.Image.Layers) > 0 {
		return "no component was recognised in this image"
	}
	if slices.ContainsFunc(b.Components, isPackaged) {
		return ""
	}
	traces := false
	for _, f := range files {
		if c := (plimsoll.Component{Detector: f.Detector}); c.IsOS() {
			if len(f.Found.Gaps) > 0 {
				return "" // it is there, and says itself what is wrong with it
			}
			// Lists of files and licences outlive a database that a layer
			// deleted, or put out of its place.
			traces = true
		}
	}
	switch {
	case b.Distro != nil:
		return b.Distro.String() + " without any package database: its packages are not known"
	case traces:
		return "files of a package manager without its database: the packages are not known"
	}
	return ""
}

// isPackaged: a component comes from the package manager of a distribution,
// also of one that osv-scalibr reads.
func isPackaged(c plimsoll.Component) bool {
	return c.IsOS() || strings.HasPrefix(c.PURL, "pkg:alpm/") || strings.HasPrefix(c.PURL, "pkg:ebuild/")
}

// own tells components found in files of OS packages who owns them.
func (m *merge) own(b *plimsoll.BOM, files []*file) {
	links := make(map[string]string, len(m.links))
	for path, l := range m.links {
		links[path] = l.target
	}
	wanted := map[string][]*plimsoll.Component{} // by real path
	bases := map[string]bool{}
	for i := range b.Components {
		c := &b.Components[i]
		if c.IsOS() {
			continue
		}
		path, _, _ := strings.Cut(c.Paths[0], "!")
		path = realPath(links, path)
		wanted[path] = append(wanted[path], c)
		bases[base(path)] = true
	}
	if len(wanted) == 0 {
		return
	}
	packages := map[string]string{} // purl by name and by name:architecture
	for i := range b.Components {
		if c := &b.Components[i]; c.IsOS() {
			packages[c.Name] = c.PURL
			packages[c.Name+":"+c.Architecture] = c.PURL
		}
	}
	for _, f := range files {
		for _, owned := range f.Found.Owned {
			owner := packages[owned.Package]
			if owner == "" {
				continue // its list outlived the package
			}
			for _, path := range owned.Paths {
				if !bases[base(path)] {
					continue
				}
				for _, c := range wanted[realPath(links, strings.TrimPrefix(path, "/"))] {
					c.Owner = owner
				}
			}
		}
	}
}

// realPath resolves the directories above path; the last name may itself be a
// link that the package owns.
func realPath(links map[string]string, path string) string {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return path
	}
	return strings.TrimPrefix(followLinks(links, path[:i])+path[i:], "/")
}

// group makes one component of those that differ in their paths only, and puts
// the list in order.
func group(list []plimsoll.Component) []plimsoll.Component {
	order := func(x, y plimsoll.Component) int {
		return cmp.Or(cmp.Compare(x.Layer, y.Layer), cmp.Compare(x.PURL, y.PURL), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Version, y.Version),
			cmp.Compare(x.Detector, y.Detector), cmp.Compare(x.Owner, y.Owner), cmp.Compare(removedAt(x), removedAt(y)), slices.Compare(x.Paths, y.Paths))
	}
	slices.SortFunc(list, order)
	var out []plimsoll.Component
	for _, c := range list {
		if len(out) > 0 {
			last := &out[len(out)-1]
			if x, y := *last, c; true {
				x.Paths, y.Paths = nil, nil
				if order(x, y) == 0 && x.Ecosystem == y.Ecosystem && x.Type == y.Type {
					last.Paths = slices.Compact(slices.Sorted(slices.Values(slices.Concat(last.Paths, c.Paths))))
					continue
				}
			}
		}
		out = append(out, c)
	}
	return out
}

func removedAt(c plimsoll.Component) int {
	if c.Removed == nil {
		return -1
	}
	return c.Removed.Layer
}
