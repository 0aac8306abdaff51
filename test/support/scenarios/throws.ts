/** For tests of `faultline explore`: a module that cannot be loaded. */
throw new RangeError('not today');
