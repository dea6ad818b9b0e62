package spdx

import (
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
)

// isGroup recognizes what trivy writes for a lock file, with the packages in it
// related to it: it is none itself.
func isGroup(p *spdxPackage) bool {
	return p.Purpose == "APPLICATION" && strings.HasPrefix(p.ID, "SPDXRef-Application-") && p.purl() == ""
}

// foreign takes in a package as another tool wrote it.
func (d *decoder) foreign(p *spdxPackage) {
	c := plimsoll.Component{
		Type: plimsoll.Library, Name: p.Name, Version: p.Version,
		Vendor: party(p.Supplier), Licenses: license(p),
		Detector: "sbom", Layer: plimsoll.NoLayer,
	}
	if p.Purpose == "APPLICATION" {
		c.Type = plimsoll.Application
	}
	if c.Vendor == "" {
		c.Vendor = party(p.Originator)
	}
	text := p.purl()
	purl, err := format.ParsePURL(text)
	image := false
	switch {
	case purl.Container:
		image = d.image(p, purl.Version)
	case p.Purpose == purposeImage:
		image = d.image(p, p.Version)
	}
	switch {
	case text == "":
		c.PURL = format.GenericPURL(c.Name, c.Version)
	case err != nil:
		c.PURL = format.GenericPURL(c.Name, c.Version)
		d.bom.Gaps = append(d.bom.Gaps, plimsoll.Gap{
			Kind: plimsoll.Unreadable, Layer: plimsoll.NoLayer, Detector: "sbom",
			Reason: "package " + c.Name + " " + c.Version + ": " + err.Error(),
		})
	default:
		d.fromPURL(&c, purl)
	}
	d.sourceInfo(&c, p.SourceInfo)
	// One CPE is a statement; of more, syft says that they are guesses.
	if cpes := p.cpes(); len(cpes) == 1 {
		c.CPEs = cpes
	}
	for _, s := range p.remarks() {
		if digest, ok := strings.CutPrefix(s, "LayerDiffID: "); ok {
			c.DiffID = plimsoll.Digest(digest)
		}
	}
	d.packages = append(d.packages, candidate{Component: c, id: p.ID, image: image, root: text == ""})
}

// image takes in what a package that is an image says of it, unless there was
// one before.
func (d *decoder) image(p *spdxPackage, digest string) bool {
	img := &d.bom.Image
	if img.Name != "" || img.Digest != "" || len(img.Layers) > 0 {
		return false
	}
	img.Name = p.Name
	img.Digest, _ = plimsoll.ParseDigest(digest)
	for _, s := range p.remarks() {
		key, value, _ := strings.Cut(s, ": ")
		switch key {
		case "ImageID":
			img.ID = plimsoll.Digest(value)
		case "RepoTag":
			img.Tags = append(img.Tags, value)
		case "DiffID":
			img.Layers = append(img.Layers, plimsoll.Layer{DiffID: plimsoll.Digest(value)})
		}
	}
	return true
}

func (d *decoder) fromPURL(c *plimsoll.Component, p format.Package) {
	if hint := p.Fill(c); d.hint == nil {
		d.hint = hint
	}
}

// sourceInfo reads the sentences in which trivy names the source package, and
// syft the file.
func (d *decoder) sourceInfo(c *plimsoll.Component, s string) {
	if built, ok := strings.CutPrefix(s, "built package from: "); ok {
		name, version, _ := strings.Cut(built, " ")
		c.Source = &plimsoll.SourcePackage{Name: name, Version: version}
		return
	}
	if _, path, ok := strings.Cut(s, ": /"); ok && strings.HasPrefix(s, "acquired package info from ") {
		for path := range strings.SplitSeq(path, ", ") {
			c.Paths = append(c.Paths, strings.TrimPrefix(path, "/"))
		}
	}
}

// remarks are what trivy says beside the format: in annotations now, in
// attribution texts before.
func (p *spdxPackage) remarks() []string {
	list := p.AttributionTexts
	for _, a := range p.Annotations {
		list = append(list, a.Comment)
	}
	return list
}

func (p *spdxPackage) cpes() (list []string) {
	for _, r := range p.ExternalRefs {
		if r.Type == "cpe23Type" {
			list = append(list, r.Locator)
		}
	}
	return list
}

// party is the name behind "Organization: " or "Person: ".
func party(s string) string {
	if _, name, ok := strings.Cut(s, ": "); ok {
		return name
	}
	return ""
}

func license(p *spdxPackage) []string {
	for _, s := range []string{p.LicenseDeclared, p.LicenseConcluded} {
		if s != "" && s != noAssertion && s != "NONE" {
			return []string{s}
		}
	}
	return nil
}
