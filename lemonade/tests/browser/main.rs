//! The dashboard in a real browser: headless Chromium, driven through chromedriver, on a real balancer before real workers.
//!
//! Needs the Debian packages `chromium` and `chromium-driver`. Pictures of what it saw are in `target/screenshots/`; with
//! `LEMONADE_SCREENSHOTS=1` the ones of the documents are made anew, in `docs/images/`.
//!
//! `axe.min.js` is axe-core 4.14.1 by Deque Systems, under the Mozilla Public License 2.0 (`axe.LICENSE`), unchanged; it is part of no
//! program of ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod chrome;
mod controls;
mod live;
mod many;
mod offline;
mod page;
mod pictures;
mod stage;
mod token;
