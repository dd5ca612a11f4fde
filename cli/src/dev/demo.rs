//! The guided tour.
use super::args::DemoArgs;
use crate::failure::Failure;
use crate::shown::Out;
pub(super) async fn run(_args: &DemoArgs, _out: Out) -> Result<(), Failure> {
    Err(Failure::failed("not yet"))
}
