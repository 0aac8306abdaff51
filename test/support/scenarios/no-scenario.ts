/** For tests of `faultline explore`: a module that exports something else. */
export default { name: 'Not A Name', title: '' };
