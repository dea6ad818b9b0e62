package cyclonedx

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
)

// Encode writes bom as CycloneDX 1.6 JSON. Decode of the result gives the same
// BOM (without the history, unless o.AllLayers).
func Encode(w io.Writer, bom *plimsoll.BOM, o Options) error {
	e := &encoder{bom: format.EscapeAll(bom), options: o, refs: map[string]int{}}
	if err := e.encode(w); err != nil {
		return fmt.Errorf("writing CycloneDX: %w", err)
	}
	return nil
}

type encoder struct {
	bom     *plimsoll.BOM
	options Options
	refs    map[string]int // bom-refs that are taken, and the number to try next
}

func (e *encoder) encode(w io.Writer) error {
	image, err := e.image()
	if err != nil {
		return err
	}
	meta, err := e.metadata(image)
	if err != nil {
		return err
	}
	doc := format.NewWriter(w)
	doc.Member("$schema", "http://cyclonedx.org/schema/bom-1.6.schema.json")
	doc.Member("bomFormat", "CycloneDX")
	doc.Member("specVersion", "1.6")
	doc.Member("serialNumber", "urn:uuid:"+e.uuid())
	doc.Member("version", 1)
	doc.Member("metadata", meta)

	refs := make([]string, len(e.bom.Components))
	doc.Array("components")
	var system []string
	if d := e.bom.Distro; d != nil {
		c := e.distro(d)
		system = append(system, c.Ref)
		doc.Element(c)
	}
	for i := range e.bom.Components {
		c := &e.bom.Components[i]
		refs[i] = e.ref(c.PURL, c)
		doc.Element(e.component(c, refs[i]))
	}
	if e.options.AllLayers {
		for i := range e.bom.History {
			c := &e.bom.History[i]
			doc.Element(e.component(c, e.ref(c.PURL+"#"+fingerprint(c), c)))
		}
	}
	doc.End()

	doc.Array("dependencies")
	doc.Element(dependency{image.Ref, append(system, refs...)})
	for _, d := range e.owned(refs) {
		doc.Element(d)
	}
	doc.End()

	if len(e.bom.Gaps) > 0 {
		doc.Member("compositions", []composition{{"incomplete", []string{image.Ref}}})
		doc.Array("properties")
		for _, g := range e.bom.Gaps {
			value, err := json.Marshal(g)
			if err != nil {
				return err
			}
			doc.Element(property{propGap, string(value)})
		}
		doc.End()
	}
	return doc.Close()
}

// uuid is the same for every document that says the same with the same seed.
func (e *encoder) uuid() string {
	id := format.NewID(e.options.Seed)
	img := &e.bom.Image
	id.Add(img.Name, string(img.ID), string(img.Digest), strconv.FormatBool(e.options.AllLayers))
	for _, list := range [][]plimsoll.Component{e.bom.Components, e.bom.History} {
		for i := range list {
			c := &list[i]
			id.Add(c.PURL, c.Version, string(c.DiffID), strconv.Itoa(c.Layer))
			id.Add(c.Paths...)
		}
	}
	for i := range e.bom.Gaps {
		g := &e.bom.Gaps[i]
		id.Add(string(g.Kind), strconv.Itoa(g.Layer), g.Path, g.Detector, g.Reason)
	}
	return id.UUID()
}

func (e *encoder) metadata(image component) (metadata, error) {
	tool := component{Type: "application", Name: toolName, Version: format.Escape(e.options.Version)}
	list, err := json.Marshal(tools{[]component{tool}})
	if err != nil {
		return metadata{}, err
	}
	m := metadata{Tools: list, Component: &image}
	at := e.options.Timestamp
	if at.IsZero() {
		at = e.bom.Image.Created
	}
	if !at.IsZero() {
		m.Timestamp = at.UTC().Format(time.RFC3339)
	}
	return m, nil
}

const toolName = "plimsoll"

func (e *encoder) image() (component, error) {
	img := &e.bom.Image
	c := component{Type: "container", Name: img.Name}
	c.Version = string(img.Digest)
	if c.Version == "" {
		c.Version = string(img.ID)
	}
	c.PURL = format.ImagePURL(img.Name, string(img.Digest), img.Platform.Architecture)
	c.Ref = e.unique("image:" + img.Name)

	p := &properties{}
	p.add(propImageSource, img.Source)
	p.add(propImageDigest, string(img.Digest))
	p.add(propImageID, string(img.ID))
	p.add(propImageOS, img.Platform.OS)
	p.add(propImageArch, img.Platform.Architecture)
	p.add(propImageVariant, img.Platform.Variant)
	if !img.Created.IsZero() {
		p.add(propImageCreated, img.Created.Format(time.RFC3339Nano))
	}
	p.each(propImageTag, img.Tags)
	for _, key := range slices.Sorted(maps.Keys(img.Labels)) {
		p.set(propImageLabel+key, img.Labels[key])
	}
	for _, l := range img.Layers {
		value, err := json.Marshal(l)
		if err != nil {
			return c, err
		}
		p.add(propImageLayer, string(value))
	}
	c.Properties = p.list
	return c, nil
}

func (e *encoder) distro(d *plimsoll.Distro) component {
	c := component{Type: "operating-system", Name: d.ID, Version: d.Version, Description: d.PrettyName, CPE: d.CPE}
	c.Ref = e.unique("os:" + d.ID + "@" + d.Version)
	p := &properties{}
	p.add(propDistroIDLike, d.IDLike)
	p.add(propDistroName, d.Name)
	p.add(propDistroCodename, d.Codename)
	p.add(propDistroVariant, d.Variant)
	p.add(propPath, d.Path)
	c.Properties = p.list
	return c
}

func (e *encoder) component(from *plimsoll.Component, ref string) component {
	c := component{
		Type: string(from.Type), Ref: ref,
		Name: from.Name, Version: from.Version, PURL: from.PURL,
		Licenses: licenses(from.Licenses),
	}
	if from.Type != plimsoll.Application {
		c.Type = string(plimsoll.Library)
	}
	if from.Vendor != "" {
		c.Supplier = &organization{from.Vendor}
	}
	p := &properties{list: make([]property, 0, 10)}
	p.set(propDetector, from.Detector)
	p.add(propEcosystem, from.Ecosystem)
	p.add(propArchitecture, from.Architecture)
	if from.Source != nil {
		p.set(propSourceName, from.Source.Name)
		p.add(propSourceVersion, from.Source.Version)
	}
	p.add(propModule, from.Module)
	p.add(propOwner, from.Owner)
	if len(from.CPEs) > 0 {
		c.CPE = from.CPEs[0]
		p.each(propCPE, from.CPEs[1:])
	}
	p.each(propPath, from.Paths)
	p.set(propLayer, strconv.Itoa(from.Layer))
	p.add(propDiffID, string(from.DiffID))
	p.add(propStep, from.Step)
	if r := from.Removed; r != nil {
		// The format's word for what is not in the thing that was delivered.
		c.Scope = "excluded"
		p.set(propRemovedLayer, strconv.Itoa(r.Layer))
		p.add(propRemovedDiffID, string(r.DiffID))
		p.add(propRemovedStep, r.Step)
		p.add(propRemovedBy, r.By)
	}
	c.Properties = p.list
	return c
}

// licenses are one expression, or any number of identifiers and names: the
// format does not let the two be mixed.
func licenses(list []string) []license {
	if len(list) == 1 && !format.IsLicenseID(list[0]) {
		if _, ok := format.ParseLicense(list[0]); ok {
			return []license{{Expression: list[0]}}
		}
	}
	out := make([]license, 0, len(list))
	for _, s := range list {
		if format.IsLicenseID(s) {
			out = append(out, license{License: &licenseName{ID: s}})
		} else {
			out = append(out, license{License: &licenseName{Name: s}})
		}
	}
	return out
}

// owned are the edges from an OS package to the components in its files.
func (e *encoder) owned(refs []string) []dependency {
	at := map[string]int{} // an owner's purl: its place in list
	var list []dependency
	for i := range e.bom.Components {
		if c := &e.bom.Components[i]; c.IsOS() {
			if _, twice := at[c.PURL]; !twice {
				at[c.PURL] = len(list)
				list = append(list, dependency{Ref: refs[i]})
			}
		}
	}
	for i := range e.bom.Components {
		c := &e.bom.Components[i]
		owner, ok := at[c.Owner]
		if c.Owner != "" && ok && list[owner].Ref != refs[i] {
			list[owner].DependsOn = append(list[owner].DependsOn, refs[i])
		}
	}
	return slices.DeleteFunc(list, func(d dependency) bool { return len(d.DependsOn) == 0 })
}

// ref is a component's bom-ref: its purl, so that it is the same in every
// document; with a fingerprint of where it lies when the purl is taken.
func (e *encoder) ref(wanted string, c *plimsoll.Component) string {
	if wanted == "" {
		wanted = "component:" + c.Name + "@" + c.Version
	}
	if e.refs[wanted] > 0 {
		wanted += "#" + fingerprint(c)
	}
	return e.unique(wanted)
}

// unique takes ref, or ref with a number that makes it unique.
func (e *encoder) unique(ref string) string {
	free := ref
	for e.refs[free] > 0 {
		e.refs[ref]++
		free = ref + "-" + strconv.Itoa(e.refs[ref])
	}
	e.refs[free] = 1
	return free
}

// fingerprint of where a component lies.
func fingerprint(c *plimsoll.Component) string {
	id := format.NewID(string(c.DiffID))
	id.Add(c.Paths...)
	return id.Short()
}

type properties struct{ list []property }

// set adds a property, also when its value is empty.
func (p *properties) set(name, value string) {
	p.list = append(p.list, property{name, value})
}

// add adds a property unless its value is empty.
func (p *properties) add(name, value string) {
	if value != "" {
		p.set(name, value)
	}
}

func (p *properties) each(name string, values []string) {
	for _, v := range values {
		p.set(name, v)
	}
}
