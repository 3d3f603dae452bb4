"""The platform's addresses and, for comparison, views that do nothing but the unavoidable."""

from django.urls import path

from config.urls import urlpatterns as platform_urls
from tests.bench.bare import copy_spans, insert_one

urlpatterns = [path("bench/spans", copy_spans), path("bench/one", insert_one), *platform_urls]
