package plimsoll

import "io/fs"

// HeadSize is how many bytes of a file a detector may look at before it says
// whether it wants the file.
const HeadSize = 512

// File is one regular file of a layer, as a detector first sees it.
type File struct {
	// Path relative to the image's root: slash separated, clean, without a
	// leading slash. Its bytes are the tar header's, which need not be UTF-8.
	Path string
	// Base is the part of Path after the last slash.
	Base string
	Size int64
	Mode fs.FileMode
	// Head is the first min(Size, HeadSize) bytes. It is only valid during
	// the call and must not be changed.
	Head []byte
}

// Found is what one detector read out of one file.
type Found struct {
	Components []Component `json:"components,omitempty"`
	// Owned lists the files of packages, where the file says so.
	Owned []OwnedFiles `json:"owned,omitempty"`
	// Licenses of OS packages that the package manager keeps in a file apart
	// (Debian's copyright files).
	Licenses []PackageLicenses `json:"licenses,omitempty"`
	// Distro, where the file names the distribution.
	Distro *Distro `json:"distro,omitempty"`
	// Gaps are parts of the file that could not be read or are not supported.
	Gaps []Gap `json:"gaps,omitempty"`
}

// OwnedFiles are the files that belong to one OS package.
type OwnedFiles struct {
	// Package is the package's name, or name:architecture where the package
	// manager tells architectures apart that way (dpkg multi-arch).
	Package string `json:"package"`
	// Paths are relative to the image's root, as the package manager writes
	// them; they may run through symbolic links such as /lib.
	Paths []string `json:"paths"`
}

// PackageLicenses are the licences of one OS package, named as in OwnedFiles.
type PackageLicenses struct {
	Package  string   `json:"package"`
	Licenses []string `json:"licenses"`
}
