//! `lemonade reload`: has the running balancer read its configuration again.

use super::text::{self, Tense};
use super::{Failure, ask};
use crate::cli::Reach;
use crate::client::Body;
use hyper::Method;

pub(crate) fn run(reach: &Reach) -> Result<(), Failure> {
    ask(reach, Method::POST, "/reload", Body::none(), |plan| {
        text::plan(plan, Tense::Did)
    })
}
