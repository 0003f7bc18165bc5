// Package qr draws QR codes (ISO/IEC 18004:2015): text in byte mode, error correction level M, versions 1 to 15, which is up
// to 412 bytes. The mask is the one with the lowest penalty, so the same text always makes the same picture.
//
// Implemented: the four rules of penalty of section 7.8.3, format and version information with their BCH codes, Reed-Solomon
// blocks and their interleaving. Not implemented: other modes, levels and versions, structured append, ECI.
package qr
