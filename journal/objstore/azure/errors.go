package azure

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// denials are the service's words for a refusal, and what to do about it.
var denials = map[string]string{
	string(bloberror.AuthenticationFailed):            "the key or signature is not the account's or has expired, or the clock of this machine is wrong",
	string(bloberror.AuthorizationFailure):            "the firewall of the account, or the permissions of the signature, do not allow it",
	string(bloberror.AuthorizationPermissionMismatch): "give the identity the role Storage Blob Data Contributor",
	"KeyBasedAuthenticationNotPermitted":              "the account does not take keys: unset AZURE_STORAGE_KEY, and log in",
	"InvalidAuthenticationInfo":                       "the token is not for this account",
	"PublicAccessNotPermitted":                        "set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or log in",
}

// fail puts the place on an error, and makes the service's words for clear answers ours. nil stays nil.
func (s *Store) fail(op objstore.Op, key string, err error) error {
	if err == nil {
		return nil
	}
	var r *azcore.ResponseError
	var login *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &r):
		err = answer(r)
	case errors.As(err, &login):
		err = fmt.Errorf("%w: there are no credentials: set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or log in: %v", objstore.ErrDenied, err)
	}
	return &objstore.Error{Op: op, Store: s.name, Key: key, Err: err}
}

// answer is the error that an answer stands for, in one line.
func answer(r *azcore.ResponseError) error {
	code := r.ErrorCode
	if code == "" {
		code = http.StatusText(r.StatusCode)
	}
	switch {
	case code == string(bloberror.ContainerNotFound), code == string(bloberror.ContainerBeingDeleted), code == string(bloberror.ContainerDisabled):
		return fmt.Errorf("%w (%s): make the container, or look at its name and account", objstore.ErrNoBucket, code)
	case r.StatusCode == http.StatusNotFound: // an answer to HEAD has no body to say what
		return objstore.ErrNotFound
	case denials[code] != "":
		return fmt.Errorf("%w (%s): %s", objstore.ErrDenied, code, denials[code])
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w (%s): look at the credentials", objstore.ErrDenied, code)
	}
	return fmt.Errorf("the service answers %d %s", r.StatusCode, code)
}

// status of an answer; 0 when err is none.
func status(err error) int {
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// unmet says that a condition did not hold.
func unmet(err error) bool {
	return bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) || status(err) == http.StatusPreconditionFailed
}

// gone says that there is no object of that name.
func gone(err error) bool {
	return status(err) == http.StatusNotFound && !bloberror.HasCode(err, bloberror.ContainerNotFound)
}
