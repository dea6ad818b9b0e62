package plimsoll

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest names content by its hash: "sha256:" and 64 lower-case hexadecimal
// digits, or "sha512:" and 128 of them (OCI image specification,
// descriptor.md, "Digests"). The zero value means "not known".
type Digest string

// ParseDigest checks the form of s. Only the two algorithms that the OCI
// specification registers are accepted.
func ParseDigest(s string) (Digest, error) {
	algorithm, hexDigits, found := strings.Cut(s, ":")
	if !found {
		return "", fmt.Errorf("digest %q: want ALGORITHM:HEX, such as sha256:9f86…", clip(s))
	}
	var digits int
	switch algorithm {
	case "sha256":
		digits = 64
	case "sha512":
		digits = 128
	default:
		return "", fmt.Errorf("digest %q: algorithm %q is not supported (sha256 and sha512 are)", clip(s), clip(algorithm))
	}
	if len(hexDigits) != digits {
		return "", fmt.Errorf("digest %q: %s takes %d hexadecimal digits, not %d", clip(s), algorithm, digits, len(hexDigits))
	}
	for _, c := range []byte(hexDigits) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %q: %q is not a lower-case hexadecimal digit", clip(s), c)
		}
	}
	return Digest(s), nil
}

// SHA256 returns the digest of b.
func SHA256(b []byte) Digest {
	sum := sha256.Sum256(b)
	return DigestOf(sum[:])
}

// DigestOf returns the sha256 digest whose raw 32 bytes are sum.
func DigestOf(sum []byte) Digest {
	return Digest("sha256:" + hex.EncodeToString(sum))
}

// Algorithm is the part before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex is the part after the colon.
func (d Digest) Hex() string {
	_, hexDigits, _ := strings.Cut(string(d), ":")
	return hexDigits
}

// Short is the first twelve hexadecimal digits, for people to read.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// clip keeps hostile input short in error messages.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
