//go:build !linux

package image

import (
	"io/fs"
	"os"
)

// device and isPseudo: only Linux mounts its kernel's state below the root.

func device(fs.FileInfo) uint64 { return 0 }

func isPseudo(*os.File) bool { return false }
