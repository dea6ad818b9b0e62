package cyclonedx

import (
	"strings"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format"
)

// isGroup recognizes what trivy writes for a lock file or a kind of package,
// with the packages below it in the graph: it is none itself.
func isGroup(c *component) bool {
	if c.PURL != "" {
		return false
	}
	for _, p := range c.Properties {
		if p.Name == "aquasecurity:trivy:Class" {
			return true
		}
	}
	return false
}

// foreign fills c from what another tool wrote: first the package URL, then
// the properties of syft, trivy and cdxgen. (Of syft's CPEs only the first is
// taken, which stands in the component itself; the rest are its guesses.)
func (d *decoder) foreign(c *plimsoll.Component, from *component) {
	if from.Group != "" {
		c.Name = from.Group + "/" + from.Name
	}
	c.Detector = "sbom"
	p, err := format.ParsePURL(from.PURL)
	switch {
	case from.PURL == "":
		c.PURL = format.GenericPURL(c.Name, c.Version)
	case err != nil:
		c.PURL = format.GenericPURL(c.Name, c.Version)
		d.bom.Gaps = append(d.bom.Gaps, plimsoll.Gap{
			Kind: plimsoll.Unreadable, Layer: plimsoll.NoLayer, Detector: "sbom",
			Reason: "component " + c.Name + " " + c.Version + ": " + err.Error(),
		})
	default:
		d.fromPURL(c, p)
	}
	d.foreignProperties(c, from)
}

func (d *decoder) fromPURL(c *plimsoll.Component, p format.Package) {
	if hint := p.Fill(c); d.hint == nil {
		d.hint = hint
	}
}

func (d *decoder) foreignProperties(c *plimsoll.Component, from *component) {
	var source, version, release, epoch string
	path := func(s string) {
		if s = strings.TrimPrefix(s, "/"); s != "" {
			c.Paths = append(c.Paths, s)
		}
	}
	for _, p := range from.Properties {
		switch p.Name {
		case "syft:metadata:source", "syft:metadata:originPackage", "aquasecurity:trivy:SrcName":
			source = p.Value
		case "syft:metadata:sourceRpm":
			source, version = format.SourceRPM(p.Value)
		case "syft:metadata:sourceVersion", "aquasecurity:trivy:SrcVersion":
			version = p.Value
		case "aquasecurity:trivy:SrcRelease":
			release = p.Value
		case "aquasecurity:trivy:SrcEpoch":
			epoch = p.Value
		case "syft:metadata:modularityLabel", "aquasecurity:trivy:Modularitylabel":
			c.Module = p.Value
		case "syft:metadata:architecture":
			c.Architecture = p.Value
		case "aquasecurity:trivy:LayerDiffID", "syft:location:0:layerID":
			c.DiffID = plimsoll.Digest(p.Value)
		case "aquasecurity:trivy:FilePath", "SrcFile":
			path(p.Value)
		default:
			if strings.HasPrefix(p.Name, "syft:location:") && strings.HasSuffix(p.Name, ":path") {
				path(p.Value)
			}
		}
	}
	if from.Evidence != nil && len(c.Paths) == 0 {
		for _, o := range from.Evidence.Occurrences {
			path(o.Location)
		}
	}
	if source == "" {
		return
	}
	if release != "" {
		version += "-" + release
	}
	if epoch != "" && epoch != "0" {
		version = epoch + ":" + version
	}
	c.Source = &plimsoll.SourcePackage{Name: source, Version: version}
}
