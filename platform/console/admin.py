"""Registers the pages of people, whose models lie below the admin's ground, and takes off what bypasses roles."""

import django_rq.admin  # noqa: F401  # registers pages that every account could use
from django.contrib import admin
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers groups
from django.contrib.auth.models import Group

from accounts.models import Membership, Team, User
from console.people import MembershipAdmin, TeamAdmin, UserAdmin

__all__: list[str] = []

# Rights come from roles, never from groups; queues are shown per task, to whoever runs the installation.
admin.site.unregister(Group)
for model in [model for model in admin.site._registry if model._meta.app_label == "django_rq"]:
    admin.site.unregister(model)

admin.site.register(User, UserAdmin)
admin.site.register(Membership, MembershipAdmin)
admin.site.register(Team, TeamAdmin)
