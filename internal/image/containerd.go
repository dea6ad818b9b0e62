package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/distribution/reference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/plimsoll/plimsoll"
)

// containerd is an image store that a running containerd serves
// (github.com/containerd/containerd, api/services). Two of its services are
// all that is needed: which image has which manifest, and the content of
// manifests, configurations and layers.
type containerd struct {
	address string
	timing  timing
	*grpc.ClientConn
	images  imagesapi.ImagesClient
	content contentapi.ContentClient
}

// openContainerd finds an image in containerd: at CONTAINERD_ADDRESS, in the
// namespace CONTAINERD_NAMESPACE or else in those that nerdctl and ctr, the
// Kubernetes kubelet, and Docker use. Short names mean what they mean to
// Docker.
func openContainerd(ctx context.Context, ref string, o Options) ([]*Image, error) {
	names, digest, err := containerdNames(ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errNotHere, quote(ref), err)
	}
	address := cmp.Or(strings.TrimPrefix(os.Getenv("CONTAINERD_ADDRESS"), "unix://"), "/run/containerd/containerd.sock")
	namespaces := []string{"default", "k8s.io", "moby"}
	if n := os.Getenv("CONTAINERD_NAMESPACE"); n != "" {
		namespaces = []string{n}
	}
	c := &containerd{address: address, timing: o.timing}
	if err := c.dial(ctx); err != nil {
		return nil, err
	}
	defer c.Close()
	for _, namespace := range namespaces {
		nsCtx := metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
		found, err := c.find(nsCtx, names, digest)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err == nil {
			var images []*Image
			if images, err = c.open(nsCtx, namespace, ref, found, o); err == nil {
				return images, nil
			}
		}
		return nil, fmt.Errorf("containerd at %s, namespace %s: %w", address, namespace, err)
	}
	return nil, fmt.Errorf("%w: containerd has no %s in the namespaces %s", errNotHere, quote(names[0]), strings.Join(namespaces, ", "))
}

// containerdNames are the names under which containerd may have what ref
// means, the likeliest first, and the digest in ref, if there is one.
func containerdNames(ref string) ([]string, plimsoll.Digest, error) {
	// The kubelet's namespace has each image under its id too.
	for _, id := range []string{ref, "sha256:" + ref} {
		if digest, err := plimsoll.ParseDigest(id); err == nil {
			return []string{id}, digest, nil
		}
	}
	full, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, "", err
	}
	full = reference.TagNameOnly(full)
	// Of a name with both, nerdctl and the kubelet keep the digest only.
	short, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, "", err
	}
	names := []string{short.String()}
	for _, name := range []string{full.String(), ref} { // ctr takes any name
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var digest plimsoll.Digest
	if d, ok := full.(reference.Digested); ok {
		if digest, err = plimsoll.ParseDigest(d.Digest().String()); err != nil {
			return nil, "", err
		}
	}
	return names, digest, nil
}

// dial connects.
func (c *containerd) dial(ctx context.Context) error {
	if err := tryAddress(ctx, "unix", c.address); err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix:"+c.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // it is a socket of this machine
		// Left alone, the windows grow to 16 MiB.
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(4<<20))
	if err != nil {
		return err
	}
	c.ClientConn, c.images, c.content = conn, imagesapi.NewImagesClient(conn), contentapi.NewContentClient(conn)
	return nil
}

// find looks an image up in the namespace of ctx: by name, then by the digest
// of its manifest or index.
func (c *containerd) find(ctx context.Context, names []string, digest plimsoll.Digest) (*imagesapi.Image, error) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	for _, name := range names {
		got, err := c.images.Get(ctx, &imagesapi.GetImageRequest{Name: name})
		switch {
		case status.Code(err) == codes.NotFound:
		case err != nil:
			return nil, c.failed(ctx, err)
		case digest == "" || got.Image.GetTarget().GetDigest() == string(digest) || name == string(digest):
			return got.Image, nil
		}
	}
	if digest == "" {
		return nil, errAbsent
	}
	same, err := c.named(ctx, string(digest))
	if err != nil {
		return nil, err
	}
	repository, _, _ := strings.Cut(names[0], "@")
	for _, img := range same {
		if named, err := reference.ParseNormalizedNamed(img.Name); repository == string(digest) || err == nil && named.Name() == repository {
			return img, nil
		}
	}
	return nil, errAbsent
}

// named lists the images of a manifest or index.
func (c *containerd) named(ctx context.Context, digest string) ([]*imagesapi.Image, error) {
	got, err := c.images.List(ctx, &imagesapi.ListImagesRequest{Filters: []string{"target.digest==" + digest}})
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	return got.Images, nil
}

// open reads what describes the image, for each platform that is wanted.
func (c *containerd) open(ctx context.Context, namespace, ref string, found *imagesapi.Image, o Options) ([]*Image, error) {
	target := found.GetTarget()
	start := descriptor{MediaType: target.GetMediaType(), Digest: plimsoll.Digest(target.GetDigest()), Size: target.GetSize()}
	if err := start.check(); err != nil {
		return nil, err
	}
	same, err := c.named(ctx, target.GetDigest())
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, img := range same {
		tags = append(tags, img.Name)
	}
	t := &tree{fetch: c.blob, has: func(d descriptor) bool { return c.has(ctx, d) }}
	wanted, err := t.images(ctx, []descriptor{start}, o)
	if err != nil {
		return nil, err
	}
	var images []*Image
	for _, m := range wanted {
		m.facts.Tags = tags
		images = append(images, newImage("containerd", ref, m.facts.Platform, func(ctx context.Context, r Reader) (plimsoll.Image, error) {
			again := &containerd{address: c.address, timing: c.timing}
			if err := again.dial(ctx); err != nil {
				return plimsoll.Image{}, err
			}
			defer again.Close()
			ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
			return m.facts, readParts(ctx, r, m.facts, m.parts(again.layer))
		}))
	}
	return images, nil
}

// has reports whether the store holds what d names. A store that gives no
// answer says yes: the error will come again, and be seen, when it is read.
func (c *containerd) has(ctx context.Context, d descriptor) bool {
	_, err := c.info(ctx, d)
	return !errors.Is(err, errAbsent)
}

// info asks for the size of what d names.
func (c *containerd) info(ctx context.Context, d descriptor) (int64, error) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	got, err := c.content.Info(ctx, &contentapi.InfoRequest{Digest: string(d.Digest)})
	switch {
	case status.Code(err) == codes.NotFound:
		return 0, fmt.Errorf("containerd's store: %w", errAbsent)
	case err != nil:
		return 0, c.failed(ctx, err)
	}
	return got.GetInfo().GetSize(), nil
}

// layer opens a layer.
func (c *containerd) layer(ctx context.Context, d descriptor) (*blob, error) {
	b, err := c.blob(ctx, d)
	if errors.Is(err, errAbsent) {
		return nil, plimsoll.WithHint(
			errors.New("containerd's store does not have it: it was pulled lazily, or thrown away when it was unpacked"),
			"pull the image again with all its content, or scan it in its registry")
	}
	return b, err
}

// blob opens what d names.
func (c *containerd) blob(ctx context.Context, d descriptor) (*blob, error) {
	size, err := c.info(ctx, d)
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		return nil, fmt.Errorf("containerd has %d bytes of it, not %d as its descriptor says: it was altered or is incomplete", size, d.Size)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stream, err := c.content.Read(ctx, &contentapi.ReadContentRequest{Digest: string(d.Digest)})
	if err != nil {
		cancel(nil)
		return nil, c.failed(ctx, err)
	}
	body := io.NopCloser(&contentReader{ctx: ctx, c: c, stream: stream, left: size})
	return &blob{ReadCloser: watch(ctx, cancel, body, c.timing.stall), size: size}, nil
}

// contentReader reads the messages that content comes in, of a megabyte each.
type contentReader struct {
	ctx    context.Context // of the stream, for the reason of its end
	c      *containerd
	stream contentapi.Content_ReadClient
	data   []byte
	left   int64
}

func (r *contentReader) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		got, err := r.stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && r.left > 0:
			return 0, fmt.Errorf("containerd sent %d bytes too few: %w", r.left, io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return 0, io.EOF
		case err != nil:
			return 0, r.c.failed(r.ctx, err)
		}
		r.data = got.GetData()
		r.left -= int64(len(r.data))
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// patience bounds a question.
func (c *containerd) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.timing.header, fmt.Errorf("containerd gave no answer for %s", c.timing.header))
}

// failed is the error of a call in words, without gRPC's own.
func (c *containerd) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("containerd: %s", status.Convert(err).Message())
}
