package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plimsoll/plimsoll"
)

// Media types of the OCI image specification 1.1 (media-types.md) and of
// Docker's image manifest version 2, schema 1 and 2.
const (
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	schema1Prefix  = "application/vnd.docker.distribution.manifest.v1+"
)

// descriptor names content (OCI image specification, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      plimsoll.Digest   `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Annotations map[string]string `json:"annotations"`
	Platform    plimsoll.Platform `json:"platform"`
}

func (d descriptor) check() error {
	if _, err := plimsoll.ParseDigest(string(d.Digest)); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: size %d", d.Digest, d.Size)
	}
	return nil
}

// isAttestation tells provenance and bills of materials that BuildKit puts
// beside the images of an index
// (github.com/moby/buildkit, docs/attestations/attestation-storage.md).
func (d descriptor) isAttestation() bool {
	return d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown" ||
		d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// isManifest tells what a registry serves as manifest from what it serves as
// blob.
func (d descriptor) isManifest() bool {
	switch d.MediaType {
	case ociIndex, ociManifest, dockerIndex, dockerManifest:
		return true
	}
	return false
}

// names under which a layout or archive holds the image: those that
// containerd and Docker write, and those of the OCI specification
// (annotations.md).
func (d descriptor) names() []string {
	var names []string
	for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
		if name := d.Annotations[key]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// document is an index or a manifest: which of the two, only the content
// tells for sure.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []descriptor    `json:"manifests"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

func (d *document) isIndex() bool { return d.Manifests != nil }

// parseDocument reads an index or manifest and checks its descriptors.
func parseDocument(b []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("parsing manifest: %w", err)
	}
	switch {
	case d.FSLayers != nil, strings.HasPrefix(d.MediaType, schema1Prefix):
		return nil, errSchema1()
	case d.Manifests != nil && (d.Config != nil || d.Layers != nil):
		// Whoever checked it as the one may run it as the other (CVE-2021-41190).
		return nil, errors.New("ambiguous manifest: it is both an index and an image")
	case d.Manifests != nil:
		for i, m := range d.Manifests {
			if err := m.check(); err != nil {
				return nil, fmt.Errorf("index entry %d: %w", i, err)
			}
		}
	case d.Config != nil:
		if err := d.Config.check(); err != nil {
			return nil, fmt.Errorf("image configuration: %w", err)
		}
		for i, l := range d.Layers {
			if err := l.check(); err != nil {
				return nil, fmt.Errorf("layer %d: %w", i, err)
			}
			if strings.HasSuffix(l.MediaType, "+encrypted") {
				return nil, fmt.Errorf("layer %d (sha256:%s) is encrypted", i, l.Digest.Short())
			}
		}
	default:
		return nil, errors.New("neither an index (it has no manifests) nor an image manifest (it has no config)")
	}
	return &d, nil
}

func errSchema1() error {
	return plimsoll.WithHint(
		errors.New("the manifest has the obsolete format schema 1, which names no verifiable layers"),
		"pull the image with Docker 25 or older and push it again, or rebuild it")
}

// config is an image configuration (OCI image specification, config.md).
type config struct {
	Created      string `json:"created"`
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	Config       struct {
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []plimsoll.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		CreatedBy  string `json:"created_by"`
		Comment    string `json:"comment"`
		EmptyLayer bool   `json:"empty_layer"`
	} `json:"history"`
}

func parseConfig(b []byte) (*config, error) {
	// Some tools write a byte order mark, and no parser but Go's minds it.
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("parsing image configuration: %w", err)
	}
	for i, d := range c.RootFS.DiffIDs {
		if _, err := plimsoll.ParseDigest(string(d)); err != nil {
			return nil, fmt.Errorf("image configuration: diff ID %d: %w", i, err)
		}
	}
	return &c, nil
}

func (c *config) platform() plimsoll.Platform {
	return plimsoll.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
}

// facts are what the configuration says about the image. The layers' digests
// and sizes are the caller's to fill in.
func (c *config) facts() plimsoll.Image {
	img := plimsoll.Image{
		Platform: c.platform(),
		Labels:   c.Config.Labels,
		Layers:   make([]plimsoll.Layer, len(c.RootFS.DiffIDs)),
	}
	// A time that is not one is no reason to refuse the image.
	img.Created, _ = time.Parse(time.RFC3339Nano, c.Created)
	for i, d := range c.RootFS.DiffIDs {
		img.Layers[i] = plimsoll.Layer{Index: i, DiffID: d}
	}
	layered := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			layered++
		}
	}
	if layered != len(img.Layers) {
		return img // then nobody can say which step made which layer
	}
	i := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			img.Layers[i].Step, img.Layers[i].Comment = h.CreatedBy, h.Comment
			i++
		}
	}
	return img
}
