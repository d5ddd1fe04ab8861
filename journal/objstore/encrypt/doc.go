// Package encrypt is a store whose objects are encrypted before they leave this machine, to recipients of age
// (https://age-encryption.org). What the service keeps, and whoever reads along there, is of no use without an
// identity, which is never in the store.
//
//	keys := encrypt.Keys{Recipients: recipients, Identities: identities}
//	store, err = encrypt.New(objstore.Retry(store, nil), keys, nil)
//
// # Who needs what
//
// Writing takes recipients: public keys. Reading takes an identity. A program that only adds can do with recipients as
// long as it reads nothing that another process wrote: what it wrote itself it can read until it ends. So an archive
// can be begun without an identity; but whoever goes on with one looks first where it ends, and so do compaction and
// every restore: they need an identity.
//
// # What is hidden, and what is not
//
// Hidden is what is in the objects. To be seen are their names, which say how many transactions there are and about
// when they were, the number of recipients, and sizes to the byte. An object that was changed, cut short or given
// another's name is found when it is read. What is not found is that all of a store, or an object, was put back to
// what it was once: the same goes for a copy from before. Nor does it say who wrote: everybody can write to a
// recipient, so that an archive is only as authentic as the access to its store.
//
// # The format
//
// Each object is a file of age v1, complete in itself: `age -d -i KEY OBJECT` reads it, without this package. The
// section of journal/FORMAT.md has what is particular: the object's name is bound into the header, and all headers of
// a store have one length, so that sizes can be told from a list. That length is in the object "encryption", which is
// not listed.
//
// Blocks have 64 KiB, so a range takes what it covers and not more than two blocks besides. The first Get of an object
// may take up to three requests (its header, its end, which proves its size, and the range), those after it take one;
// an object of a block, or one that is read from its beginning to its end, takes one.
//
// # Wrappers
//
// Put [objstore.Retry] beneath: then every try sends the same bytes, and what was done but reported as failed is
// recognised without an identity.
package encrypt
