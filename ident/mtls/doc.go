// Package mtls says which machine is calling, by its client certificate: other parties' machines, and a ZETA Guard in front
// whose ZETA-* headers are believed.
//
// What it promises:
//
//   - A machine is who holds the private key of a pinned public key (SHA-256 over SubjectPublicKeyInfo, as RFC 7469 counts it),
//     or of a certificate that a configured authority issued to exactly the configured subject. The handshake proves that the
//     key is there; everything else is judged here, at every request and by the injected clock, so that a pin that is
//     taken away acts on connections and resumed sessions that are open.
//   - A certificate outside its dates, or that is made for servers only, is nobody's. With a pin the dates are those that the
//     key's holder wrote: a pin that must end is taken out of the configuration, or its key is put on the deny list.
//   - A machine may have two pins, the present key and the next one.
//   - ZETA-* headers are believed only over the connection of a guard, which has a pin, not an authority (gemSpec_ZETA
//     A_26517-01). A header that comes twice, in another spelling or damaged is believed by nobody. Where the raw token came as
//     well, what the guard says must be what the token says: [Asserted.Compare].
//
// The server's TLS configuration has to ask for certificates without judging them: [Ask].
package mtls
