// Package kim reads and writes the mails of KIM (Kommunikation im Medizinwesen) as far as an insurer's mail door needs
// them, without any key.
//
// What it promises:
//
//   - [ReadHeader] reads the outer header of any octets: never an error, never a panic, at most [MaxHeader] octets and
//     [MaxFields] fields. What it could not read it reports as a [Finding]; nothing it finds is a reason to reject a
//     mail (K-07).
//   - Routing is unambiguous: a header that occurs twice counts with its first occurrence, and differing repetitions
//     are reported. The compartment of a mail is a function of the recipient and of the first X-KIM-Dienstkennung.
//   - [Document] returns the octets of the one signed document in a mail, or an [ExtractError] with the reason. It walks
//     at most [MaxParts] parts and [MaxDepth] levels, and never changes an octet of what it returns.
//   - [Delivered] and [Compose] write 7-bit mails with CRLF line ends into which no foreign string can put a header
//     field or a MIME part.
//
// Layers below the client mail (CMS encryption and signature of the KIM client module) are not read here.
//
// Sources: gemSpec_CM_KOMLE and gematik api-kim (headers, addresses, A_23421, A_23422), KBV Technische Anlage eAU 1.26
// (P4-01, P5-02, P5-07), RFC 5322 (mail), RFC 2045-2049 and 2231 (MIME), RFC 3461-3464 and 6522 (delivery status
// notifications), RFC 3834 (automatic answers).
package kim
