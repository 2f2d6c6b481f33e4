"""HTTP: access control, the page's internal routes, the jobs API, and A1111's /sdapi/v1."""
