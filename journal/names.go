package journal

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// The names in a trail's directory. What has none of them belongs to somebody else and is left alone.
const (
	identityName = "identity"
	lockName     = "lock"      // held by who appends
	sealLockName = "lock-seal" // held by who seals or prunes
	baseLockName = "lock-base" // held by who writes a base

	leftLockName = "lock-left" // held by who marks what leaves the trail, and who takes transactions back

	segmentSuffix  = ".seg"
	baseSuffix     = ".base"
	sealingSuffix  = ".seg.sealing" // a segment being sealed: the next Seal goes on with it
	basingSuffix   = ".base.writing"
	salvagedSuffix = ".seg.salvaged" // a segment made by a repair, whole, that is to be put in place
	evidencePrefix = "evidence-"     // directories of what repairs took out
	tornPrefix     = "torn-"         // bytes of a torn tail, named for when (µs)
	cutPrefix      = "cut-"          // directory of the tail as it was before records were cut off, likewise
	branchPrefix   = "branch-"       // directory of what a timeline had beyond the next one
)

func segmentName(first TXID) string { return fmt.Sprintf("%016x%s", uint64(first), segmentSuffix) }
func sealingName(first TXID) string { return fmt.Sprintf("%016x%s", uint64(first), sealingSuffix) }
func baseName(id TXID) string       { return fmt.Sprintf("%016x%s", uint64(id), baseSuffix) }

func salvagedName(first TXID) string {
	return strings.TrimSuffix(segmentName(first), segmentSuffix) + salvagedSuffix
}

// parseName reads the TXID off a file name of the given suffix.
func parseName(name, suffix string) (TXID, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false
	}
	v, err := strconv.ParseUint(hex, 16, 64)
	if err != nil || TXID(v) > MaxTXID {
		return 0, false
	}
	return TXID(v), true
}

// dirMode gives a directory the x bits of its r bits.
func dirMode(mode fs.FileMode) fs.FileMode { return mode | mode&0o444>>2 }
