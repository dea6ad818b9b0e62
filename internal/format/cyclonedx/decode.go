package cyclonedx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
)

// Decode reads a CycloneDX JSON document, to its end. What Encode wrote comes
// back as it was. A document of another tool gives what it says of components,
// distribution and layers; where it names no layer for a component, Layer is
// plimsoll.NoLayer, and the detector is "sbom" unless it is an OS package.
// Components that are files, not packages, are left out. What cannot be understood of a component becomes a Gap, and the component stays.
func Decode(r io.Reader) (*plimsoll.BOM, error) {
	d := &decoder{in: format.NewReader(r), bom: &plimsoll.BOM{}}
	if err := d.document(); err != nil {
		return nil, fmt.Errorf("reading CycloneDX: %w", err)
	}
	return d.bom, nil
}

type decoder struct {
	in   *format.Reader
	bom  *plimsoll.BOM
	ours bool // written by Encode
	// The distribution that package URLs name, for documents that say it in
	// no other place.
	hint *plimsoll.Distro
}

func (d *decoder) document() error {
	isCycloneDX := false
	err := d.in.Members(func(name string) error {
		switch name {
		case "bomFormat":
			var value string
			if err := d.in.Value(&value); err != nil {
				return err
			}
			isCycloneDX = value == "CycloneDX"
			return nil
		case "metadata":
			return d.metadata()
		case "components":
			return d.in.Each(d.element)
		case "properties":
			return d.in.Each(d.property)
		}
		return d.in.Skip()
	})
	switch {
	case err != nil:
		return err
	case !isCycloneDX:
		return plimsoll.WithHint(errors.New(`no "bomFormat": "CycloneDX"`), "give a CycloneDX JSON document")
	}
	d.finish()
	return nil
}

func (d *decoder) metadata() error {
	var m metadata
	if err := d.in.Value(&m); err != nil {
		return err
	}
	if err := d.in.Keep(); err != nil {
		return err
	}
	var t tools
	if json.Unmarshal(m.Tools, &t) == nil {
		for _, c := range t.Components {
			d.ours = d.ours || c.Name == toolName
		}
	}
	if m.Component == nil {
		return nil
	}
	img := &d.bom.Image
	img.Name = m.Component.Name
	img.Source = "sbom"
	if m.Component.Group != "" {
		img.Name = m.Component.Group + "/" + img.Name
	}
	if p, err := format.ParsePURL(m.Component.PURL); err == nil && p.Container {
		img.Digest, _ = plimsoll.ParseDigest(p.Version)
	} else if digest, err := plimsoll.ParseDigest(m.Component.Version); err == nil {
		img.Digest = digest
	}
	if err := d.imageProperties(m.Component.Properties); err != nil {
		return err
	}
	for i := range m.Component.Components {
		if err := d.add(&m.Component.Components[i], 1); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) imageProperties(list []property) error {
	img := &d.bom.Image
	if d.ours {
		// The digest that the purl and the version show is the image's ID when
		// there is no manifest.
		img.Source, img.Digest = "", ""
	}
	for _, p := range list {
		switch p.Name {
		case propImageSource:
			img.Source = p.Value
		case propImageDigest:
			img.Digest = plimsoll.Digest(p.Value)
		case propImageID:
			img.ID = plimsoll.Digest(p.Value)
		case propImageOS:
			img.Platform.OS = p.Value
		case propImageArch:
			img.Platform.Architecture = p.Value
		case propImageVariant:
			img.Platform.Variant = p.Value
		case propImageCreated:
			at, err := time.Parse(time.RFC3339Nano, p.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			img.Created = at
		case propImageTag:
			img.Tags = append(img.Tags, p.Value)
		case propImageLayer:
			var l plimsoll.Layer
			if err := json.Unmarshal([]byte(p.Value), &l); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			l.Index = len(img.Layers)
			img.Layers = append(img.Layers, l)
		case "aquasecurity:trivy:ImageID":
			img.ID = plimsoll.Digest(p.Value)
		case "aquasecurity:trivy:RepoTag":
			img.Tags = append(img.Tags, p.Value)
		case "aquasecurity:trivy:DiffID":
			img.Layers = append(img.Layers, plimsoll.Layer{Index: len(img.Layers), DiffID: plimsoll.Digest(p.Value)})
		default:
			key, ok := strings.CutPrefix(p.Name, propImageLabel)
			if !ok {
				key, ok = strings.CutPrefix(p.Name, "syft:image:labels:")
			}
			if !ok {
				key, ok = strings.CutPrefix(p.Name, "aquasecurity:trivy:Labels:")
			}
			if ok {
				if img.Labels == nil {
					img.Labels = map[string]string{}
				}
				img.Labels[key] = p.Value
			}
		}
	}
	return nil
}

// property is one of the document's own.
func (d *decoder) property() error {
	var p property
	if err := d.in.Value(&p); err != nil || p.Name != propGap {
		return err
	}
	var g plimsoll.Gap
	if err := json.Unmarshal([]byte(p.Value), &g); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	d.bom.Gaps = append(d.bom.Gaps, g)
	return d.in.Keep()
}

func (d *decoder) element() error {
	var c component
	if err := d.in.Value(&c); err != nil {
		return err
	}
	return d.add(&c, 0)
}

// add takes in a component and those inside it.
func (d *decoder) add(c *component, depth int) error {
	if depth > format.MaxNesting {
		return fmt.Errorf("components are nested more than %d deep", format.MaxNesting)
	}
	switch {
	case c.Type == "file", isGroup(c):
		// Evidence of packages, or a heading over them.
	case c.Type == "operating-system":
		d.distro(c)
	default:
		if len(d.bom.Components)+len(d.bom.History) >= format.MaxComponents {
			return fmt.Errorf("more than %d components", format.MaxComponents)
		}
		if err := d.in.Keep(); err != nil {
			return err
		}
		if err := d.component(c); err != nil {
			return err
		}
	}
	for i := range c.Components {
		if err := d.add(&c.Components[i], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) distro(c *component) {
	if d.bom.Distro != nil {
		return // of several, the first: an image has one
	}
	system := &plimsoll.Distro{ID: c.Name, Version: c.Version, PrettyName: c.Description, CPE: c.CPE}
	for _, p := range c.Properties {
		switch p.Name {
		case propDistroIDLike, "syft:distro:idLike:0":
			system.IDLike = p.Value
		case propDistroName, "syft:distro:name":
			system.Name = p.Value
		case propDistroCodename, "syft:distro:versionCodename":
			system.Codename = p.Value
		case propDistroVariant, "syft:distro:variantID":
			system.Variant = p.Value
		case propPath:
			system.Path = p.Value
		case "syft:distro:id":
			system.ID = p.Value
		case "syft:distro:versionID":
			system.Version = p.Value
		case "syft:distro:prettyName":
			system.PrettyName = p.Value
		}
	}
	d.bom.Distro = system
}

func (d *decoder) component(from *component) error {
	c := plimsoll.Component{
		PURL: from.PURL, Type: plimsoll.Library,
		Name: from.Name, Version: from.Version,
		Layer: plimsoll.NoLayer,
	}
	if from.Type == string(plimsoll.Application) {
		c.Type = plimsoll.Application
	}
	switch {
	case from.Supplier != nil && from.Supplier.Name != "":
		c.Vendor = from.Supplier.Name
	default:
		c.Vendor = from.Publisher
	}
	for _, l := range from.Licenses {
		switch {
		case l.Expression != "":
			c.Licenses = append(c.Licenses, l.Expression)
		case l.License == nil:
		case l.License.ID != "":
			c.Licenses = append(c.Licenses, l.License.ID)
		case l.License.Name != "":
			c.Licenses = append(c.Licenses, l.License.Name)
		}
	}
	if from.CPE != "" {
		c.CPEs = append(c.CPEs, from.CPE)
	}
	ours, err := readProperties(&c, from.Properties)
	if err != nil {
		return fmt.Errorf("component %.80q: %w", from.Name, err)
	}
	if !ours {
		d.foreign(&c, from)
	}
	if c.Removed != nil {
		d.bom.History = append(d.bom.History, c)
	} else {
		d.bom.Components = append(d.bom.Components, c)
	}
	return nil
}

// readProperties takes in what Encode wrote of c; ours is whether it did.
func readProperties(c *plimsoll.Component, list []property) (ours bool, err error) {
	removed := func() *plimsoll.Removal {
		if c.Removed == nil {
			c.Removed = &plimsoll.Removal{Layer: plimsoll.NoLayer}
		}
		return c.Removed
	}
	source := func() *plimsoll.SourcePackage {
		if c.Source == nil {
			c.Source = &plimsoll.SourcePackage{}
		}
		return c.Source
	}
	for _, p := range list {
		switch p.Name {
		case propDetector:
			c.Detector, ours = p.Value, true
		case propEcosystem:
			c.Ecosystem = p.Value
		case propArchitecture:
			c.Architecture = p.Value
		case propSourceName:
			source().Name = p.Value
		case propSourceVersion:
			source().Version = p.Value
		case propModule:
			c.Module = p.Value
		case propOwner:
			c.Owner = p.Value
		case propCPE:
			c.CPEs = append(c.CPEs, p.Value)
		case propPath:
			c.Paths = append(c.Paths, p.Value)
		case propLayer:
			if c.Layer, err = strconv.Atoi(p.Value); err != nil {
				return ours, fmt.Errorf("%s: %w", p.Name, err)
			}
		case propDiffID:
			c.DiffID = plimsoll.Digest(p.Value)
		case propStep:
			c.Step = p.Value
		case propRemovedLayer:
			if removed().Layer, err = strconv.Atoi(p.Value); err != nil {
				return ours, fmt.Errorf("%s: %w", p.Name, err)
			}
		case propRemovedDiffID:
			removed().DiffID = plimsoll.Digest(p.Value)
		case propRemovedStep:
			removed().Step = p.Value
		case propRemovedBy:
			removed().By = p.Value
		}
	}
	return ours, nil
}

// finish does what needs the whole document: layers may be named before they
// are listed, and a document may say what is not so.
func (d *decoder) finish() {
	format.Settle(d.bom, d.hint)
	if d.ours {
		*d.bom = format.UnescapeAll(*d.bom)
	}
}
