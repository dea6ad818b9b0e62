// Package report writes what people and programs read: tables grouped by
// layer, and the JSON forms that docs/bom.md describes.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
	"github.com/plimsoll/plimsoll/internal/term"
)

// The names of the JSON forms. A form changes by additions only; anything
// else gets a new number.
const (
	bomSchema  = "plimsoll/bom/1"
	scanSchema = "plimsoll/scan/1"
)

// BOMJSON writes a bill of materials in Plimsoll's own form. The history is
// left out unless allLayers is set.
func BOMJSON(w io.Writer, b *plimsoll.BOM, allLayers bool) error {
	out := struct {
		Schema string `json:"schema"`
		plimsoll.BOM
	}{bomSchema, format.EscapeAll(*b)}
	tidy(&out.BOM, allLayers)
	return indented(w, out)
}

// ScanJSON writes the result of a scan.
func ScanJSON(w io.Writer, r *plimsoll.Result, allLayers bool) error {
	out := struct {
		Schema string `json:"schema"`
		plimsoll.Result
	}{scanSchema, format.EscapeAll(*r)}
	tidy(&out.BOM, allLayers)
	if out.Findings == nil {
		out.Findings = []plimsoll.Finding{}
	}
	return indented(w, out)
}

// tidy leaves out the history unless it is wanted, and writes lists that are
// always there as such.
func tidy(b *plimsoll.BOM, allLayers bool) {
	if !allLayers {
		b.History = nil
	}
	if b.Components == nil {
		b.Components = []plimsoll.Component{}
	}
	if b.Image.Layers == nil {
		b.Image.Layers = []plimsoll.Layer{}
	}
}

func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// BOMTable writes the components grouped by the layer that introduced them.
func BOMTable(w io.Writer, b *plimsoll.BOM, allLayers bool) error {
	p := &printer{w: w}
	p.image(b)
	for _, l := range layers(b) {
		list := ofLayer(b.Components, l.Index)
		p.layer(l, count(len(list), "component"))
		if len(list) > 0 {
			t := term.NewTable(w, column("  PACKAGE"), column("VERSION"), term.Column{Head: "TYPE", Whole: true}, term.Column{Head: "WHERE", End: true}, term.Column{Head: "LICENCE"})
			for _, c := range list {
				row(t, "  "+c.Name, c.Version, kind(&c), where(&c), shorten(strings.Join(c.Licenses, ", ")))
			}
			p.flush(t)
		}
	}
	if allLayers && len(b.History) > 0 {
		p.printf("\nNo longer there\n")
		t := term.NewTable(w, column("  PACKAGE"), column("VERSION"), column("TYPE"), column("FROM LAYER"), column("GONE IN"), term.Column{Head: "REPLACED BY"})
		for _, c := range b.History {
			row(t, "  "+c.Name, c.Version, kind(&c), fmt.Sprint(c.Layer), fmt.Sprint(c.Removed.Layer), c.Removed.By)
		}
		p.flush(t)
	}
	p.printf("\n%s in %s.\n", count(len(b.Components), "component"), count(len(b.Image.Layers), "layer"))
	p.gaps(b.Gaps)
	return p.err
}

// ScanTable writes the findings grouped by the layer that introduced the
// component.
func ScanTable(w io.Writer, r *plimsoll.Result) error {
	p := &printer{w: w}
	p.image(&r.BOM)
	for _, l := range layers(&r.BOM) {
		var list []plimsoll.Finding
		for _, f := range r.Findings {
			if f.Layer == l.Index {
				list = append(list, f)
			}
		}
		what := count(len(ofLayer(r.Components, l.Index)), "component")
		if len(list) > 0 {
			what += ", " + count(len(list), "finding")
		}
		p.layer(l, what)
		if len(list) > 0 {
			t := term.NewTable(w, column("  SEVERITY"), column("ID"), column("PACKAGE"), column("INSTALLED"), column("FIXED IN"), term.Column{Head: "WHAT"})
			for _, f := range list {
				t.Row(term.Cell{Text: "  " + string(f.Level), Style: severityStyle(f.Level)}, term.Text(f.ID), term.Text(f.Package), term.Text(f.Installed), term.Text(f.Fixed), term.Text(f.Summary))
			}
			p.flush(t)
		}
	}
	p.printf("\n%s in %s. ", count(len(r.Components), "component"), count(len(r.Image.Layers), "layer"))
	assessed := false
	for _, feed := range r.Feeds {
		assessed = assessed || feed.Records > 0
	}
	switch {
	case len(r.Findings) > 0:
		p.printf("%s: %s.\n", count(len(r.Findings), "finding"), levels(r.Findings))
	case !assessed:
		p.printf("Nothing was compared with known vulnerabilities.\n")
	default:
		p.printf("No known vulnerability in what was assessed.\n")
	}
	p.gaps(r.Gaps)
	return p.err
}

// printer remembers the first error of writing.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, a...)
	}
}

func (p *printer) flush(t *term.Table) {
	if p.err == nil {
		_, p.err = t.WriteTo(p.w)
	}
}

func (p *printer) image(b *plimsoll.BOM) {
	facts := []string{b.Image.Source}
	if s := b.Image.Platform.String(); s != "" {
		facts = append(facts, s)
	}
	if b.Distro != nil {
		facts = append(facts, b.Distro.String())
	}
	p.printf("%s  %s\n", term.Clean(b.Image.Name), term.Clean(strings.Join(facts, ", ")))
	if b.Image.Digest != "" {
		p.printf("manifest %s\n", b.Image.Digest)
	}
	if b.Image.ID != "" {
		p.printf("image id %s\n", b.Image.ID)
	}
}

func (p *printer) layer(l plimsoll.Layer, what string) {
	head := fmt.Sprintf("Layer %d", l.Index)
	if l.Index == plimsoll.NoLayer {
		head = "Layer not known"
	}
	if term.Colour(p.w) {
		head = term.Bold.Paint(head)
	}
	p.printf("\n%s", head)
	if l.DiffID != "" {
		p.printf("  %s", l.DiffID.Short())
	}
	p.printf("  %s", what)
	if step := Step(l); step != "" {
		step = term.Clean(step)
		if width := term.Width(p.w); width > 2 {
			step = term.Cut(step, width-2)
		}
		p.printf("\n  %s", step)
	}
	p.printf("\n")
}

func (p *printer) gaps(gaps []plimsoll.Gap) {
	if len(gaps) == 0 {
		return
	}
	p.printf("\nNot known (%s)\n", count(len(gaps), "gap"))
	t := term.NewTable(p.w, column("  KIND"), column("LAYER"), column("WHY"))
	for _, g := range gaps {
		layer := "-"
		if g.Layer != plimsoll.NoLayer {
			layer = fmt.Sprint(g.Layer)
		}
		why := g.Reason
		if g.Path != "" {
			why = g.Path + ": " + why
		}
		row(t, "  "+string(g.Kind), layer, why)
	}
	p.flush(t)
}

// lineBreaks of a Dockerfile step, which is shown in one line.
var lineBreaks = strings.NewReplacer("\\\r\n", "", "\\\n", "", "\r\n", " ", "\n", " ", "\t", " ")

// Step is the Dockerfile step of a layer as its author wrote it: without the
// shell that Docker puts in front of RUN, and without the builder's comment.
func Step(l plimsoll.Layer) string {
	step := lineBreaks.Replace(l.Step)
	if s, ok := strings.CutPrefix(step, "/bin/sh -c #(nop) "); ok {
		return strings.TrimSpace(s)
	}
	if s, ok := strings.CutPrefix(step, "/bin/sh -c "); ok {
		return "RUN " + s
	}
	step = strings.TrimSuffix(step, " # buildkit")
	step = strings.Replace(step, "RUN /bin/sh -c ", "RUN ", 1)
	if step == "" {
		return l.Comment
	}
	return step
}

// layers of the image, and the place for components whose layer is not known:
// those of documents that other tools wrote.
func layers(b *plimsoll.BOM) []plimsoll.Layer {
	if slices.ContainsFunc(b.Components, func(c plimsoll.Component) bool { return c.Layer == plimsoll.NoLayer }) {
		return append([]plimsoll.Layer{{Index: plimsoll.NoLayer}}, b.Image.Layers...)
	}
	return b.Image.Layers
}

func ofLayer(list []plimsoll.Component, index int) []plimsoll.Component {
	var out []plimsoll.Component
	for _, c := range list {
		if c.Layer == index {
			out = append(out, c)
		}
	}
	return out
}

// kind is the purl's type: deb, npm, golang …
func kind(c *plimsoll.Component) string {
	rest, _ := strings.CutPrefix(c.PURL, "pkg:")
	t, _, _ := strings.Cut(rest, "/")
	return t
}

// where is the first path; for OS packages it is the database, which says
// nothing.
func where(c *plimsoll.Component) string {
	if c.IsOS() || len(c.Paths) == 0 {
		return ""
	}
	if len(c.Paths) > 1 {
		return fmt.Sprintf("%s and %d more", c.Paths[0], len(c.Paths)-1)
	}
	return c.Paths[0]
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// levels counts findings by severity: "1 critical, 3 high".
func levels(findings []plimsoll.Finding) string {
	var parts []string
	for _, l := range []plimsoll.Level{plimsoll.Critical, plimsoll.High, plimsoll.Medium, plimsoll.Low, plimsoll.Negligible, plimsoll.Unknown} {
		n := 0
		for _, f := range findings {
			if f.Level == l {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, l))
		}
	}
	return strings.Join(parts, ", ")
}

func severityStyle(l plimsoll.Level) term.Style {
	switch l {
	case plimsoll.Critical, plimsoll.High:
		return term.Red
	case plimsoll.Medium:
		return term.Yellow
	}
	return ""
}

// column holds what people copy: it is never cut.
func column(head string) term.Column { return term.Column{Head: head, Whole: true} }

func row(t *term.Table, cells ...string) {
	var list []term.Cell
	for _, c := range cells {
		list = append(list, term.Text(c))
	}
	t.Row(list...)
}

// shorten keeps one long licence list from widening the table; the other forms
// have it whole.
func shorten(s string) string { return term.Cut(s, 40) }
