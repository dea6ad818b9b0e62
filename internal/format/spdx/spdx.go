// Package spdx writes a bill of materials as SPDX 2.3 JSON
// (spdx.github.io/spdx-spec/v2.3) and reads SPDX 2 JSON of any tool. What SPDX
// has no field for is in annotations, which docs/bom.md explains.
//
// It has its own structs instead of tools-golang's: that library holds the
// whole document in memory, files included, on both ways.
package spdx

import (
	"strings"

	"github.com/plimsoll/plimsoll/internal/format"
)

// Options of Encode.
type Options = format.Options

// The part of the format that we write or read.

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	Name             string        `json:"name"`
	ID               string        `json:"SPDXID"`
	Version          string        `json:"versionInfo,omitempty"`
	Supplier         string        `json:"supplier,omitempty"`
	Originator       string        `json:"originator,omitempty"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	SourceInfo       string        `json:"sourceInfo,omitempty"`
	LicenseConcluded string        `json:"licenseConcluded,omitempty"`
	LicenseDeclared  string        `json:"licenseDeclared,omitempty"`
	Copyright        string        `json:"copyrightText,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
	Purpose          string        `json:"primaryPackagePurpose,omitempty"`
	Annotations      []annotation  `json:"annotations,omitempty"`
	AttributionTexts []string      `json:"attributionTexts,omitempty"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type annotation struct {
	Date      string `json:"annotationDate"`
	Type      string `json:"annotationType"`
	Annotator string `json:"annotator"`
	Comment   string `json:"comment"`
}

type relationship struct {
	From    string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	To      string `json:"relatedSpdxElement"`
	Comment string `json:"comment,omitempty"`
}

type licenseInfo struct {
	ID   string `json:"licenseId"`
	Text string `json:"extractedText"`
	Name string `json:"name,omitempty"`
}

const (
	documentID    = "SPDXRef-DOCUMENT"
	imageID       = "SPDXRef-Image"
	distroID      = "SPDXRef-Distribution"
	noAssertion   = "NOASSERTION"
	toolPrefix    = "Tool: plimsoll"
	purposeImage  = "CONTAINER"
	purposeDistro = "OPERATING_SYSTEM"
)

// The comments of our annotations: one of these words, a space, and a JSON
// object of the field that our own format has for it (docs/bom.md).
const (
	noteImage     = "plimsoll:image"
	noteDistro    = "plimsoll:distro"
	noteComponent = "plimsoll:component"
	noteGap       = "plimsoll:gap"
)

// purl of a package: the first of its references of that type.
func (p *spdxPackage) purl() string {
	for _, r := range p.ExternalRefs {
		if r.Type == "purl" {
			return r.Locator
		}
	}
	return ""
}

// note is the JSON object of the annotation whose comment begins with word.
func note(list []annotation, word string) (string, bool) {
	for _, a := range list {
		if first, rest, ok := strings.Cut(a.Comment, " "); ok && first == word {
			return rest, true
		}
	}
	return "", false
}
