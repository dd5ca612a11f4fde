//! How a part of the catalogue is written down: each line is a static, and all are in its `TABLE`.
//! A line cannot be left out of it. Pure.

macro_rules! table {
    ($($name:ident: $type:ty = $metric:expr;)*) => {
        $(
            #[doc = concat!("See its help: `", stringify!($name), "`.")]
            pub static $name: $type = $metric;
        )*

        /// All of this part.
        pub(super) static TABLE: &[&Metric] = &[$($name.metric()),*];
    };
}
