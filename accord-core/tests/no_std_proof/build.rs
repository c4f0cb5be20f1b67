//! Links the C library for `memcpy` and the start of the process, and nothing else.

fn main() {
    println!("cargo::rustc-link-arg=-nodefaultlibs");
    println!("cargo::rustc-link-arg=-lc");
}
