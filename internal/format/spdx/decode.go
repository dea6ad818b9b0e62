package spdx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
)

// Decode reads an SPDX 2 JSON document, to its end. What Encode wrote comes
// back as it was. A document of another tool gives what it says of packages,
// distribution and layers; where it names no layer for a package, Layer is
// plimsoll.NoLayer, and the detector is "sbom" unless it is an OS package. The
// package that the document describes is the image. What cannot be understood
// of a package becomes a Gap, and the package stays.
func Decode(r io.Reader) (*plimsoll.BOM, error) {
	d := &decoder{in: format.NewReader(r), bom: &plimsoll.BOM{}, described: map[string]bool{}, texts: map[string]string{}}
	if err := d.document(); err != nil {
		return nil, fmt.Errorf("reading SPDX: %w", err)
	}
	return d.bom, nil
}

type decoder struct {
	in   *format.Reader
	bom  *plimsoll.BOM
	ours bool // written by Encode
	// packages that are components, until it is known which one is the image.
	packages []candidate
	// described holds the ids of what the document is about.
	described map[string]bool
	// texts of the licences that are not on SPDX's list, by their ids.
	texts map[string]string
	// hint is the distribution that package URLs name, for documents that say
	// it in no other place.
	hint *plimsoll.Distro
}

type candidate struct {
	plimsoll.Component
	id  string
	own bool
	// image: it was taken for the image. root: it has no package URL, so that
	// it is no component when it is what the document describes.
	image, root bool
}

func (d *decoder) document() error {
	version, name := "", ""
	err := d.in.Members(func(member string) error {
		switch member {
		case "spdxVersion":
			return d.in.Value(&version)
		case "name":
			return d.in.Value(&name)
		case "creationInfo":
			var info creationInfo
			err := d.in.Value(&info)
			for _, c := range info.Creators {
				d.ours = d.ours || strings.HasPrefix(c, toolPrefix)
			}
			return err
		case "packages":
			return d.in.Each(d.element)
		case "documentDescribes":
			return d.in.Each(func() error {
				var id string
				if err := d.in.Value(&id); err != nil {
					return err
				}
				return d.describe(id)
			})
		case "relationships":
			return d.in.Each(d.relationship)
		case "hasExtractedLicensingInfos":
			return d.in.Each(d.license)
		case "annotations":
			return d.in.Each(d.gap)
		}
		return d.in.Skip()
	})
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(version, "SPDX-2."):
		return plimsoll.WithHint(fmt.Errorf(`"spdxVersion" is %.20q`, version), "give an SPDX 2.2 or 2.3 JSON document")
	}
	if d.bom.Image.Source == "" && !d.ours {
		d.bom.Image.Source = "sbom"
	}
	d.finish()
	if d.bom.Image.Name == "" {
		d.bom.Image.Name = name
	}
	return nil
}

func (d *decoder) describe(id string) error {
	d.described[id] = true
	if len(d.described) > format.MaxComponents {
		return errors.New("describes too much")
	}
	return d.in.Keep()
}

func (d *decoder) relationship() error {
	var r relationship
	if err := d.in.Value(&r); err != nil {
		return err
	}
	switch {
	case r.Type == "DESCRIBES" && r.From == documentID:
		return d.describe(r.To)
	case r.Type == "DESCRIBED_BY" && r.To == documentID:
		return d.describe(r.From)
	}
	return nil
}

func (d *decoder) license() error {
	var l licenseInfo
	if err := d.in.Value(&l); err != nil {
		return err
	}
	// The words that stand for a licence, not the text of one.
	const words = 200
	switch {
	case l.Text != "" && len(l.Text) <= words && !strings.Contains(l.Text, "\n"):
		d.texts[l.ID] = l.Text
	case l.Name != "" && len(l.Name) <= words && l.Name != noAssertion:
		d.texts[l.ID] = l.Name
	default:
		return nil
	}
	return d.in.Keep()
}

// gap reads one of the document's own annotations.
func (d *decoder) gap() error {
	var a annotation
	if err := d.in.Value(&a); err != nil {
		return err
	}
	text, ok := note([]annotation{a}, noteGap)
	if !ok {
		return nil
	}
	var g plimsoll.Gap
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return fmt.Errorf("%s: %w", noteGap, err)
	}
	d.bom.Gaps = append(d.bom.Gaps, g)
	return d.in.Keep()
}

func (d *decoder) element() error {
	var p spdxPackage
	if err := d.in.Value(&p); err != nil {
		return err
	}
	if err := d.add(&p); err != nil {
		return fmt.Errorf("%.80q: %w", p.Name, err)
	}
	return nil
}

func (d *decoder) add(p *spdxPackage) error {
	if text, ok := note(p.Annotations, noteImage); ok && p.ID == imageID {
		if err := json.Unmarshal([]byte(text), &d.bom.Image); err != nil {
			return fmt.Errorf("%s: %w", noteImage, err)
		}
		return d.in.Keep()
	}
	if text, ok := note(p.Annotations, noteDistro); ok && p.ID == distroID {
		if err := json.Unmarshal([]byte(text), &d.bom.Distro); err != nil {
			return fmt.Errorf("%s: %w", noteDistro, err)
		}
		return d.in.Keep()
	}
	switch {
	case p.Purpose == "FILE", isGroup(p):
		return nil
	case p.Purpose == purposeDistro || p.Purpose == "OPERATING-SYSTEM":
		if d.bom.Distro == nil {
			d.bom.Distro = &plimsoll.Distro{ID: p.Name, Version: p.Version}
		}
		return nil
	}
	if len(d.packages) >= format.MaxComponents {
		return fmt.Errorf("more than %d packages", format.MaxComponents)
	}
	if err := d.in.Keep(); err != nil {
		return err
	}
	if c, ok, err := own(p); err != nil {
		return err
	} else if ok {
		d.packages = append(d.packages, candidate{Component: c, id: p.ID, own: true})
		return nil
	}
	d.foreign(p)
	return nil
}

// own reads the component that Encode put beside the package. When the package
// has been edited since, what it says itself counts, and ok is false.
func own(p *spdxPackage) (c plimsoll.Component, ok bool, err error) {
	text, ok := note(p.Annotations, noteComponent)
	if !ok {
		return c, false, nil
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, false, fmt.Errorf("%s: %w", noteComponent, err)
	}
	return c, c.PURL == p.purl() && c.Version == p.Version && c.Name == p.Name, nil
}

// finish does what needs the whole document: packages come before the
// relationships that tell which one is the image.
func (d *decoder) finish() {
	for i := range d.packages {
		c := &d.packages[i]
		if c.Type != plimsoll.Application {
			c.Type = plimsoll.Library
		}
		switch {
		case c.image:
		case c.root && d.described[c.id]:
			if d.bom.Image.Name == "" {
				d.bom.Image.Name = c.Name
			}
		case c.Removed != nil:
			d.bom.History = append(d.bom.History, c.Component)
		default:
			if !c.own && len(c.Licenses) == 1 && d.texts[c.Licenses[0]] != "" {
				c.Licenses[0] = d.texts[c.Licenses[0]]
			}
			d.bom.Components = append(d.bom.Components, c.Component)
		}
	}
	d.packages = nil
	format.Settle(d.bom, d.hint)
	if d.ours {
		*d.bom = format.UnescapeAll(*d.bom)
	}
}
