package plimsoll

import "time"

// Platform is what an image was built for, in the words of the OCI image
// specification (image-index.md, "platform").
type Platform struct {
	OS           string `json:"os,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
}

// String is the form that --platform takes: os/architecture[/variant].
func (p Platform) String() string {
	switch {
	case p.OS == "" && p.Architecture == "":
		return ""
	case p.Variant != "":
		return p.OS + "/" + p.Architecture + "/" + p.Variant
	default:
		return p.OS + "/" + p.Architecture
	}
}

// Image is what is known about one image of one platform, whoever held it.
type Image struct {
	// Name is the image as it was asked for, without the source's prefix.
	Name string `json:"name"`
	// Source says where it was read from: registry, docker, podman,
	// containerd, oci, archive, dir or sbom.
	Source string `json:"source"`
	// Digest is the manifest's; empty where the source has none (docker-archive).
	Digest Digest `json:"digest,omitempty"`
	// ID is the digest of the image configuration; empty for dir and sbom.
	ID       Digest   `json:"id,omitempty"`
	Platform Platform `json:"platform"`
	// Tags are the other names that the source gives to this image.
	Tags    []string          `json:"tags,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created,omitzero"`
	// Layers, lowest first.
	Layers []Layer `json:"layers"`
}

// Layer is one file system layer of an image.
type Layer struct {
	// Index counts from 0, the lowest layer.
	Index int `json:"index"`
	// DiffID is the digest of the uncompressed tar stream, as verified.
	// Empty only for a root file system directory, which has no stream.
	DiffID Digest `json:"diffID,omitempty"`
	// Digest is that of the bytes as stored or transferred; empty where the
	// source keeps no such digest.
	Digest Digest `json:"digest,omitempty"`
	// Size in bytes as stored or transferred.
	Size      int64  `json:"size,omitempty"`
	MediaType string `json:"mediaType,omitempty"`
	// Step is the Dockerfile step that made the layer: "created_by" of the
	// image's history, as written there. Empty when the history does not say.
	Step string `json:"step,omitempty"`
	// Comment is the history's comment, such as "Imported from -".
	Comment string `json:"comment,omitempty"`
}

// Distro is the operating system distribution that an image says it is:
// os-release(5) or one of the older files that came before it.
type Distro struct {
	ID         string `json:"id"`                   // debian, alpine, rhel: lower case
	IDLike     string `json:"idLike,omitempty"`     // space separated
	Name       string `json:"name,omitempty"`       // Debian GNU/Linux
	Version    string `json:"version,omitempty"`    // 12, 3.21.0, 9.4: VERSION_ID
	Codename   string `json:"codename,omitempty"`   // bookworm: VERSION_CODENAME
	PrettyName string `json:"prettyName,omitempty"` // Debian GNU/Linux 12 (bookworm)
	CPE        string `json:"cpe,omitempty"`        // CPE_NAME
	Variant    string `json:"variant,omitempty"`    // VARIANT_ID
	// Path of the file that said so, relative to the image's root.
	Path string `json:"path,omitempty"`
}

// String is the distribution as people write it.
func (d Distro) String() string {
	if d.PrettyName != "" {
		return d.PrettyName
	}
	if d.Version != "" {
		return d.ID + " " + d.Version
	}
	return d.ID
}
