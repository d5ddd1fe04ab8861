package s3

import (
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// denials are the service's words for a refusal, and what to do about it.
var denials = map[string]string{
	minio.AccessDenied:             "the credentials are known and may not do this: look at the policy of the user and of the bucket",
	"InvalidAccessKeyId":           "the access key is not known to this service: look at AWS_ACCESS_KEY_ID and at the endpoint",
	"XAdminUserNotFound":           "the access key is not known to this service: look at AWS_ACCESS_KEY_ID and at the endpoint", // versitygw, with 404
	"SignatureDoesNotMatch":        "the secret key does not belong to the access key, or the region is another one",
	"ExpiredToken":                 "the session token has expired: get a new one",
	"InvalidToken":                 "the session token is not valid",
	"RequestTimeTooSkewed":         "the clocks of this machine and of the service differ by more than 15 minutes: set this one",
	"AuthorizationHeaderMalformed": "the region is another one: give region= in the URL",
}

// fail puts the place on an error, and makes the service's words for clear answers ours. nil stays nil.
func (s *Store) fail(op objstore.Op, key string, err error) error {
	if err == nil {
		return nil
	}
	switch r := minio.ToErrorResponse(err); {
	case r.Code == minio.NoSuchBucket:
		err = fmt.Errorf("%w %s: make it, or look at its name and region", objstore.ErrNoBucket, s.bucket)
	case r.Code == minio.AccessDenied && s.anonymous():
		err = fmt.Errorf("%w (%s): no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", objstore.ErrDenied, r.Code)
	case denials[r.Code] != "": // with whatever status
		err = fmt.Errorf("%w (%s): %s", objstore.ErrDenied, r.Code, denials[r.Code])
	case r.Code == minio.NoSuchKey, r.StatusCode == http.StatusNotFound && op != objstore.OpList:
		err = objstore.ErrNotFound
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden:
		err = fmt.Errorf("%w (%s): look at the credentials", objstore.ErrDenied, r.Code)
	}
	return &objstore.Error{Op: op, Store: "s3://" + s.bucket, Key: key, Err: err}
}

// anonymous says that requests are not signed, because there is nothing to sign them with.
func (s *Store) anonymous() bool {
	v, err := s.core.GetCreds()
	return err == nil && v.SignerType.IsAnonymous()
}
