package spdx

import (
	"bytes"
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

// Encode writes bom as SPDX 2.3 JSON. Decode of the result gives the same BOM
// (without the history, unless o.AllLayers).
func Encode(w io.Writer, bom *plimsoll.BOM, o Options) error {
	at := o.Timestamp
	if at.IsZero() {
		at = bom.Image.Created
	}
	if at.IsZero() {
		at = time.Unix(0, 0) // the format wants a time, and wants to be repeatable
	}
	e := &encoder{
		bom: format.EscapeAll(bom), options: o,
		created: at.UTC().Format(time.RFC3339),
		tool:    toolPrefix,
		ids:     map[string]int{}, texts: map[string]bool{}, expressions: map[string]expression{},
	}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	if o.Version != "" {
		e.tool += "-" + format.Escape(o.Version)
	}
	if err := e.encode(w); err != nil {
		return fmt.Errorf("writing SPDX: %w", err)
	}
	return nil
}

type encoder struct {
	bom           *plimsoll.BOM
	options       Options
	created, tool string
	ids           map[string]int // that are taken, and the number to try next
	licenses      []licenseInfo
	texts         map[string]bool       // ids in licenses
	expressions   map[string]expression // by the package's words
	buf           bytes.Buffer
	json          *json.Encoder // to buf
	err           error
}

func (e *encoder) encode(w io.Writer) error {
	bom := e.bom
	doc := format.NewWriter(w)
	doc.Member("spdxVersion", "SPDX-2.3")
	doc.Member("dataLicense", "CC0-1.0")
	doc.Member("SPDXID", documentID)
	doc.Member("name", bom.Image.Name)
	doc.Member("documentNamespace", "urn:uuid:"+e.uuid())
	doc.Member("creationInfo", creationInfo{e.created, []string{e.tool}})

	relationships := []relationship{{From: documentID, Type: "DESCRIBES", To: imageID}}
	contains := func(what string) {
		relationships = append(relationships, relationship{From: imageID, Type: "CONTAINS", To: what})
	}
	doc.Array("packages")
	doc.Element(e.image())
	if bom.Distro != nil {
		doc.Element(e.distro())
		contains(distroID)
	}
	owners := map[string]string{} // an OS package's purl: its id
	ids := make([]string, len(bom.Components))
	for i := range bom.Components {
		c := &bom.Components[i]
		p := e.component(c)
		ids[i] = p.ID
		if _, twice := owners[c.PURL]; !twice && c.PURL != "" && c.IsOS() {
			owners[c.PURL] = p.ID
		}
		doc.Element(p)
		contains(p.ID)
	}
	for i := range bom.Components {
		if owner := owners[bom.Components[i].Owner]; owner != "" && owner != ids[i] {
			relationships = append(relationships, relationship{From: owner, Type: "CONTAINS", To: ids[i]})
		}
	}
	if e.options.AllLayers {
		for i := range bom.History {
			p := e.component(&bom.History[i])
			doc.Element(p)
			relationships = append(relationships, relationship{
				From: imageID, Type: "OTHER", To: p.ID,
				Comment: "in a lower layer of the image; a later layer removed it",
			})
		}
	}
	doc.End()
	if len(e.licenses) > 0 {
		doc.Array("hasExtractedLicensingInfos")
		for _, l := range e.licenses {
			doc.Element(l)
		}
		doc.End()
	}
	doc.Array("relationships")
	for _, r := range relationships {
		doc.Element(r)
	}
	doc.End()
	if len(bom.Gaps) > 0 {
		doc.Array("annotations")
		for _, g := range bom.Gaps {
			for _, a := range e.note(noteGap, g) {
				doc.Element(a)
			}
		}
		doc.End()
	}
	return errors.Join(e.err, doc.Close())
}

// uuid is the same for every document that says the same with the same seed.
func (e *encoder) uuid() string {
	id := format.NewID(e.options.Seed)
	img := &e.bom.Image
	id.Add("spdx", img.Name, string(img.ID), string(img.Digest), strconv.FormatBool(e.options.AllLayers))
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

// note is the annotation that carries v. An error is kept for the end.
func (e *encoder) note(word string, v any) []annotation {
	e.buf.Reset()
	e.buf.WriteString(word + " ")
	if err := e.json.Encode(v); err != nil && e.err == nil {
		e.err = err
	}
	return []annotation{{e.created, "OTHER", e.tool, strings.TrimSuffix(e.buf.String(), "\n")}}
}

func (e *encoder) image() spdxPackage {
	img := e.bom.Image
	p := spdxPackage{
		Name: img.Name, ID: imageID, Version: string(img.Digest),
		DownloadLocation: noAssertion, Purpose: purposeImage,
		Annotations: e.note(noteImage, img),
	}
	if p.Version == "" {
		p.Version = string(img.ID)
	}
	if purl := format.ImagePURL(img.Name, string(img.Digest), img.Platform.Architecture); purl != "" {
		p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", purl}}
	}
	return p
}

func (e *encoder) distro() spdxPackage {
	d := e.bom.Distro
	return spdxPackage{
		Name: d.ID, ID: distroID, Version: d.Version,
		DownloadLocation: noAssertion, Purpose: purposeDistro,
		ExternalRefs: cpes([]string{d.CPE}),
		Annotations:  e.note(noteDistro, d),
	}
}

func (e *encoder) component(c *plimsoll.Component) spdxPackage {
	p := spdxPackage{
		Name: c.Name, ID: e.id(c), Version: c.Version,
		DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: e.declared(c.Licenses),
		Copyright:   noAssertion,
		Purpose:     "LIBRARY",
		Annotations: e.note(noteComponent, c),
	}
	if c.Type == plimsoll.Application {
		p.Purpose = "APPLICATION"
	}
	if c.Vendor != "" {
		p.Supplier = "Organization: " + c.Vendor
	}
	if c.PURL != "" {
		p.ExternalRefs = append(p.ExternalRefs, externalRef{"PACKAGE-MANAGER", "purl", c.PURL})
	}
	p.ExternalRefs = append(p.ExternalRefs, cpes(c.CPEs)...)
	return p
}

func cpes(list []string) (refs []externalRef) {
	for _, cpe := range list {
		switch {
		case strings.HasPrefix(cpe, "cpe:2.3:"):
			refs = append(refs, externalRef{"SECURITY", "cpe23Type", cpe})
		case cpe != "":
			refs = append(refs, externalRef{"SECURITY", "cpe22Type", cpe})
		}
	}
	return refs
}

// declared is a valid licence expression whatever a package calls its
// licences. Several are joined by AND: each of them applies to a part.
func (e *encoder) declared(list []string) string {
	switch len(list) {
	case 0:
		return noAssertion
	case 1:
		return e.license(list[0]).text
	}
	parts := make([]string, len(list))
	for i, s := range list {
		l := e.license(s)
		parts[i] = l.text
		if l.compound {
			parts[i] = "(" + l.text + ")"
		}
	}
	return strings.Join(parts, " AND ")
}

// expression is what stands for a licence in licenseDeclared.
type expression struct {
	text     string
	compound bool
}

func (e *encoder) license(s string) expression {
	known, ok := e.expressions[s]
	if ok {
		return known
	}
	license, ok := format.ParseLicense(s)
	x := expression{s, license.Compound}
	if !ok {
		x = expression{text: "LicenseRef-" + format.Slug(s, 40) + "-" + format.NewID(s).Short()}
		e.text(x.text, s)
	}
	for _, ref := range license.Refs {
		e.text(ref, ref) // the package names it; the text is not known
	}
	e.expressions[s] = x
	return x
}

func (e *encoder) text(ref, text string) {
	if !e.texts[ref] {
		e.texts[ref] = true
		e.licenses = append(e.licenses, licenseInfo{ID: ref, Text: text, Name: text})
	}
}

// id is the same for a component in every document: made of its name, for
// people, and of a hash of what and where it is.
func (e *encoder) id(c *plimsoll.Component) string {
	hash := format.NewID(c.PURL)
	hash.Add(string(c.DiffID), strconv.FormatBool(c.Removed != nil))
	hash.Add(c.Paths...)
	id := "SPDXRef-Package-" + format.Slug(c.Name, 40) + "-" + hash.Short()
	free := id
	for e.ids[free] > 0 {
		e.ids[id]++
		free = id + "-" + strconv.Itoa(e.ids[id])
	}
	e.ids[free] = 1
	return free
}
