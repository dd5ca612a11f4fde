//! Builds the protobuf types, the gRPC client and server, and the descriptor for reflection.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptor = PathBuf::from(std::env::var("OUT_DIR")?).join("treasurehunt.v1.bin");
    tonic_prost_build::configure()
        .file_descriptor_set_path(descriptor)
        .compile_protos(&["proto/treasurehunt/v1/treasurehunt.proto"], &["proto"])?;
    Ok(())
}
