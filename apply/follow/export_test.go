package follow

// WithHook sets the function that is called before every step that changes a
// file.
func WithHook(o *Options, hook func(step string)) *Options {
	o.hook = hook
	return o
}
