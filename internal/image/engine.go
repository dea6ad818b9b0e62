package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/plimsoll/plimsoll"
)

// engine is a running engine that speaks Docker's API
// (docs.docker.com/reference/api/engine), and one image in it.
type engine struct {
	source string // docker or podman
	api    *client.Client
	o      Options
	// id names the image in all questions but the first, so that it does not
	// matter when a tag moves in between.
	id string
	// image as the engine describes it.
	image client.ImageInspectResult
	// classic engines name an image by the digest of its configuration and
	// describe all of that. The others, with containerd's image store, name
	// it by the digest of its manifest or index.
	classic bool
}

// openEngine finds the image in the first engine that has it.
func openEngine(ctx context.Context, source string, daemons []daemon, ref string, o Options) (*Image, error) {
	if _, err := reference.ParseAnyReference(ref); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errNotHere, quote(ref), err)
	}
	var absent, failed error
	for _, at := range daemons {
		e := &engine{source: source, o: o}
		err := e.open(ctx, at, ref)
		switch {
		case err == nil:
			return newImage(source, ref, e.platform(), e.read), nil
		case !errors.Is(err, errNotHere):
			if failed == nil {
				failed = fmt.Errorf("%s at %s: %w", source, at.url, err)
			}
		case absent == nil:
			absent = err
		default:
			absent = fmt.Errorf("%w; %w", absent, err)
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, absent
}

// open connects to the engine and asks about the image.
func (e *engine) open(ctx context.Context, at daemon, ref string) (err error) {
	if e.api, err = at.connect(ctx, e.source); err != nil {
		return err
	}
	if err := e.inspect(ctx, ref); err != nil {
		return err
	}
	e.id, e.classic = e.image.ID, e.isClassic()
	if e.o.Platform == "" {
		return nil
	}
	want, err := parsePlatform(e.o.Platform)
	switch {
	case err != nil:
		return err
	case e.classic && fit(want, e.platform()) == 0:
		return fmt.Errorf("%w: %s has %s for %s, not for %s", errNotHere, e.source, quote(ref), e.platform(), want)
	case !e.classic && e.speaks("1.49"):
		return e.inspect(ctx, e.id, client.ImageInspectWithPlatform(ociPlatform(want)))
	}
	return nil
}

// inspect asks about an image and checks what it is going to be used for.
func (e *engine) inspect(ctx context.Context, ref string, options ...client.ImageInspectOption) error {
	ctx, cancel := e.patience(ctx)
	defer cancel()
	image, err := e.api.ImageInspect(ctx, ref, options...)
	switch {
	case err == nil:
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", errNotHere, err)
	default:
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err // without the URL, which tells nothing
		}
		return fmt.Errorf("asking about %s: %w", quote(ref), err)
	}
	if _, err := plimsoll.ParseDigest(image.ID); err != nil {
		return fmt.Errorf("asking about %s: the answer is not about an image: its id: %w", quote(ref), err)
	}
	e.image = image
	return nil
}

// patience bounds a question: an engine that hangs is not waited for.
func (e *engine) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.o.timing.header,
		fmt.Errorf("%s gave no answer for %s", e.source, e.o.timing.header))
}

func (e *engine) speaks(version string) bool {
	return versions.GreaterThanOrEqualTo(e.api.ClientVersion(), version)
}

// isClassic tells the kinds of engine apart. From API 1.48 on (Docker 28) only
// the newer kind has a descriptor. Docker 23 to 27 have the newer kind too,
// and show it by no more than the name of the storage driver.
func (e *engine) isClassic() bool {
	switch {
	case e.image.Descriptor != nil:
		return false
	case e.source == "podman", e.speaks("1.48"), !e.speaks("1.42"):
		return true
	}
	return e.image.GraphDriver != nil && e.image.GraphDriver.Name == "overlay2"
}

// platform of the image that was asked about.
func (e *engine) platform() plimsoll.Platform {
	return plimsoll.Platform{OS: e.image.Os, Architecture: e.image.Architecture, Variant: e.image.Variant}
}

func ociPlatform(p plimsoll.Platform) *ocispec.Platform {
	return &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// errDoubt is an image that cannot be described without reading its layers.
var errDoubt = errors.New("some layer must be read")

// read has the engine save the image, unless all is known without.
func (e *engine) read(ctx context.Context, r Reader) (plimsoll.Image, error) {
	img, err := e.describe(ctx, r)
	if errors.Is(err, errDoubt) {
		img, err = e.save(ctx, func(ctx context.Context, stream io.Reader, o Options) (plimsoll.Image, error) {
			return readArchiveStream(ctx, stream, "", o, r)
		})
	}
	if err != nil {
		return plimsoll.Image{}, fmt.Errorf("reading %s from %s: %w", plimsoll.Digest(e.id).Short(), e.source, err)
	}
	img.Tags = e.image.RepoTags
	if e.classic {
		// The engine makes these up for a save stream, and only for that. What
		// it says of the platform is more than the configuration may say.
		img.Digest, img.Platform = "", e.platform()
		for i := range img.Layers {
			img.Layers[i].Digest, img.Layers[i].Size, img.Layers[i].MediaType = "", 0, ""
		}
	}
	return img, nil
}

// describe gives the facts about an image whose layers' reports are all known,
// the same as a save stream would, and reads no layer for it.
func (e *engine) describe(ctx context.Context, r Reader) (plimsoll.Image, error) {
	var diffIDs []plimsoll.Digest
	for _, layer := range e.image.RootFS.Layers {
		diffID, err := plimsoll.ParseDigest(layer)
		if err != nil || !r.Have(diffID) {
			return plimsoll.Image{}, errDoubt
		}
		diffIDs = append(diffIDs, diffID)
	}
	if img, ok := e.ask(ctx, diffIDs); ok {
		return img, nil
	}
	img, err := e.save(ctx, passOver)
	if err != nil {
		return plimsoll.Image{}, err
	}
	for _, l := range img.Layers {
		if !r.Have(l.DiffID) {
			return plimsoll.Image{}, errDoubt
		}
	}
	return img, nil
}

// ask puts the facts together from what the API says; false where it leaves a
// doubt about what the image's configuration says, which a save stream has.
//
// Looked at in Docker 20.10.24 and 29 (both classic) and Podman 4.3.1: id,
// creation time to the nanosecond, labels and diff IDs are the
// configuration's. The history has every entry, with its created_by and
// comment, but without its empty_layer: see emptySteps. With containerd's
// image store (Docker 29) nothing tells the configuration's digest.
func (e *engine) ask(ctx context.Context, diffIDs []plimsoll.Digest) (plimsoll.Image, bool) {
	if !e.classic {
		return plimsoll.Image{}, false
	}
	ctx, cancel := e.patience(ctx)
	defer cancel()
	history, err := e.api.ImageHistory(ctx, e.id)
	if err != nil {
		return plimsoll.Image{}, false
	}
	slices.Reverse(history.Items) // the API begins with the newest
	empty, ok := emptySteps(history.Items, len(diffIDs))
	if !ok {
		return plimsoll.Image{}, false
	}
	var c config
	c.OS, c.Architecture, c.Variant, c.Created = e.image.Os, e.image.Architecture, e.image.Variant, e.image.Created
	if e.image.Config != nil {
		c.Config.Labels = e.image.Config.Labels
	}
	c.RootFS.DiffIDs = diffIDs
	c.History = slices.Grow(c.History, len(empty))[:len(empty)]
	for i, h := range history.Items {
		step := &c.History[i]
		step.CreatedBy, step.Comment, step.EmptyLayer = h.CreatedBy, h.Comment, empty[i]
	}
	img := c.facts()
	img.ID = plimsoll.Digest(e.id)
	return img, true
}

// emptySteps finds out which steps of a history made no layer, oldest first;
// false where that cannot be told.
//
// The API gives a size for each. A step with a size made a layer. One without
// need not be empty: Docker counts the bytes of the regular files, so a layer
// that only deletes, or only makes directories, has the size 0 too (Podman
// counts the tar stream's). Of those, some can have made no layer, because
// the Dockerfile's instruction only changes the configuration. When what
// remains is as much as is missing, or nothing is missing, all is clear.
func emptySteps(history []imagetypes.HistoryResponseItem, layers int) ([]bool, bool) {
	empty := make([]bool, len(history))
	var open []int
	for i, h := range history {
		switch {
		case h.Size > 0:
			layers--
		case onlyConfigures(h.CreatedBy):
			empty[i] = true
		default:
			open = append(open, i)
		}
	}
	if layers == 0 {
		for _, i := range open {
			empty[i] = true
		}
	}
	return empty, layers == 0 || layers == len(open)
}

// onlyConfigures tells the steps of a Dockerfile that cannot make a layer, as
// BuildKit (looked at in 0.23) and the builder before it write them into the
// history. WORKDIR is none of them: it makes the directory.
func onlyConfigures(createdBy string) bool {
	if _, step, classic := strings.Cut(createdBy, " #(nop) "); classic {
		createdBy = strings.TrimSpace(step) // "/bin/sh -c #(nop)  ENV A=B"
	}
	instruction, _, _ := strings.Cut(createdBy, " ")
	switch instruction {
	case "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME":
		return true
	}
	return false
}

// save lets take read the image as the engine writes it for `docker save`.
func (e *engine) save(ctx context.Context, take func(context.Context, io.Reader, Options) (plimsoll.Image, error)) (plimsoll.Image, error) {
	o := e.o
	o.AllPlatforms = false
	var options []client.ImageSaveOption
	if e.classic {
		o.Platform = "" // there is one only, which open compared
	} else if o.Platform = cmp.Or(o.Platform, e.platform().String()); o.Platform != "" && e.speaks("1.48") {
		want, err := parsePlatform(o.Platform)
		if err != nil {
			return plimsoll.Image{}, err
		}
		options = append(options, client.ImageSaveWithPlatforms(*ociPlatform(want)))
	}
	// Before the first byte, Docker 20.10 writes the whole image to a temporary
	// directory.
	const slowStart = 10
	stall := e.o.timing.stall
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(slowStart*stall, func() { cancel(errStalled) })
	defer timer.Stop()
	saved, err := e.api.ImageSave(ctx, []string{e.id}, options...)
	if err != nil {
		return plimsoll.Image{}, cmp.Or(context.Cause(ctx), err)
	}
	stream := watch(ctx, cancel, saved, slowStart*stall)
	defer stream.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(stream, first); err != nil {
		return plimsoll.Image{}, fmt.Errorf("the engine sent nothing: %w", err)
	}
	timer.Stop()
	stream.stall = stall
	img, err := take(ctx, io.MultiReader(bytes.NewReader(first), stream), o)
	if err != nil {
		return plimsoll.Image{}, cmp.Or(context.Cause(ctx), err)
	}
	if e.classic && img.ID != plimsoll.Digest(e.id) {
		return plimsoll.Image{}, fmt.Errorf("the engine sent another image: %s", img.ID)
	}
	return img, nil
}

// passOver reads what describes an image in a save stream, and no layer.
func passOver(ctx context.Context, r io.Reader, o Options) (plimsoll.Image, error) {
	s, err := readStream(ctx, r, o.Limits, Reader{
		Have:  func(plimsoll.Digest) bool { return true },
		Layer: func(context.Context, *Layer) (plimsoll.Digest, error) { return "", nil },
	})
	if err != nil {
		return plimsoll.Image{}, err
	}
	images, err := s.images(ctx, "", o)
	if err != nil {
		return plimsoll.Image{}, err
	}
	return images[0].facts, nil // one: o does not want all platforms
}
