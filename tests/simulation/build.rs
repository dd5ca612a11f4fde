//! Builds the few lines of C by which a seed decides all randomness of the process: the standard
//! library's maps and tokio's choices too. I/O.

fn main() {
    println!("cargo:rerun-if-changed=shim/random.c");
    cc::Build::new().file("shim/random.c").link_lib_modifier("+whole-archive").compile("random");
}
