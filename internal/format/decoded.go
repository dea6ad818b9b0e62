package format

import (
	"strings"

	"github.com/plimsoll/plimsoll"
)

// Fill takes over what the package URL p says of the component c. It returns
// the distribution that p names, if any: a hint for the whole document.
func (p *Package) Fill(c *plimsoll.Component) *plimsoll.Distro {
	c.PURL, c.Name, c.Ecosystem, c.Architecture = p.PURL, p.Name, p.Ecosystem, p.Architecture
	if p.Detector != "" {
		c.Detector = p.Detector
	}
	// An epoch stands in the package URL only, for some tools.
	if c.Version == "" || strings.HasSuffix(p.Version, ":"+c.Version) {
		c.Version = p.Version
	}
	if p.Source != "" {
		c.Source = &plimsoll.SourcePackage{Name: p.Source, Version: p.SourceVersion}
	}
	if p.DistroID == "" {
		return nil
	}
	return &plimsoll.Distro{ID: p.DistroID, Version: p.DistroVersion}
}

// Settle makes a decoded document consistent: every layer that something
// points to exists or is NoLayer, and a distribution that only package URLs
// told of stands in for one that is missing.
func Settle(b *plimsoll.BOM, hint *plimsoll.Distro) {
	layers := b.Image.Layers
	byDiffID := map[plimsoll.Digest]int{}
	for i := range layers {
		layers[i].Index = i
		byDiffID[layers[i].DiffID] = i
	}
	valid := func(layer int) int {
		if layer < 0 || layer >= len(layers) {
			return plimsoll.NoLayer
		}
		return layer
	}
	for _, list := range [][]plimsoll.Component{b.Components, b.History} {
		for i := range list {
			c := &list[i]
			c.Layer = valid(c.Layer)
			if at, ok := byDiffID[c.DiffID]; ok && c.Layer == plimsoll.NoLayer && c.DiffID != "" {
				c.Layer, c.Step = at, layers[at].Step
			}
			if c.Removed != nil {
				c.Removed.Layer = valid(c.Removed.Layer)
			}
		}
	}
	for i := range b.Gaps {
		b.Gaps[i].Layer = valid(b.Gaps[i].Layer)
	}
	if b.Distro == nil {
		b.Distro = hint
	}
}
