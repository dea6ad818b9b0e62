// Package cyclonedx writes a bill of materials as CycloneDX 1.6 JSON
// (cyclonedx.org/docs/1.6/json) and reads CycloneDX JSON of any version and
// tool. docs/bom.md lists the names of the properties it writes.
package cyclonedx

import (
	"encoding/json"

	"github.com/plimsoll/plimsoll/internal/format"
)

// Options of Encode.
type Options = format.Options

// The part of the format that we write or read, in the schema's order.

type metadata struct {
	Timestamp string          `json:"timestamp,omitempty"`
	Tools     json.RawMessage `json:"tools,omitempty"`
	Component *component      `json:"component,omitempty"`
}

// tools is the form of metadata.tools since 1.5; before, it was a list.
type tools struct {
	Components []component `json:"components"`
}

type component struct {
	Type        string        `json:"type"`
	Ref         string        `json:"bom-ref,omitempty"`
	Supplier    *organization `json:"supplier,omitempty"`
	Publisher   string        `json:"publisher,omitempty"`
	Group       string        `json:"group,omitempty"`
	Name        string        `json:"name"`
	Version     string        `json:"version,omitempty"`
	Description string        `json:"description,omitempty"`
	Scope       string        `json:"scope,omitempty"`
	Licenses    []license     `json:"licenses,omitempty"`
	CPE         string        `json:"cpe,omitempty"`
	PURL        string        `json:"purl,omitempty"`
	Components  []component   `json:"components,omitempty"`
	Evidence    *evidence     `json:"evidence,omitempty"`
	Properties  []property    `json:"properties,omitempty"`
}

type organization struct {
	Name string `json:"name,omitempty"`
}

type license struct {
	License    *licenseName `json:"license,omitempty"`
	Expression string       `json:"expression,omitempty"`
}

type licenseName struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

type evidence struct {
	Occurrences []struct {
		Location string `json:"location"`
	} `json:"occurrences"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

type composition struct {
	Aggregate  string   `json:"aggregate"`
	Assemblies []string `json:"assemblies"`
}

// The names of properties, as docs/bom.md explains them. Those that end in ":"
// are prefixes.
const (
	propDetector      = "plimsoll:detector"
	propEcosystem     = "plimsoll:ecosystem"
	propArchitecture  = "plimsoll:architecture"
	propSourceName    = "plimsoll:source:name"
	propSourceVersion = "plimsoll:source:version"
	propModule        = "plimsoll:module"
	propOwner         = "plimsoll:owner"
	propCPE           = "plimsoll:cpe"
	propPath          = "plimsoll:path"
	propLayer         = "plimsoll:layer:index"
	propDiffID        = "plimsoll:layer:diffID"
	propStep          = "plimsoll:layer:step"
	propRemovedLayer  = "plimsoll:removed:layer:index"
	propRemovedDiffID = "plimsoll:removed:layer:diffID"
	propRemovedStep   = "plimsoll:removed:layer:step"
	propRemovedBy     = "plimsoll:removed:by"

	propImageSource  = "plimsoll:image:source"
	propImageDigest  = "plimsoll:image:digest"
	propImageID      = "plimsoll:image:id"
	propImageOS      = "plimsoll:image:os"
	propImageArch    = "plimsoll:image:architecture"
	propImageVariant = "plimsoll:image:variant"
	propImageCreated = "plimsoll:image:created"
	propImageTag     = "plimsoll:image:tag"
	propImageLabel   = "plimsoll:image:label:"
	propImageLayer   = "plimsoll:image:layer"

	propDistroIDLike   = "plimsoll:distro:idLike"
	propDistroName     = "plimsoll:distro:name"
	propDistroCodename = "plimsoll:distro:codename"
	propDistroVariant  = "plimsoll:distro:variant"

	propGap = "plimsoll:gap"
)
