//go:build !linux && !darwin

package main

// canFollow says whether there are followers here.
const canFollow = false
