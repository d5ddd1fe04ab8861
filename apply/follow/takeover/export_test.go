package takeover

// WithHook sets the function that is called before every step that changes something.
func (o *Options) WithHook(hook func(step string) error) *Options { o.hook = hook; return o }

// WithHook is the same for Retire.
func (o *RetireOptions) WithHook(hook func(step string) error) *RetireOptions {
	o.hook = hook
	return o
}
