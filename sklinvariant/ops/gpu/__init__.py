"""The operators of `sklinvariant.ops` as Triton kernels. Each module is imported only where its kernels run."""
