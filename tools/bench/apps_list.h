/* SPDX-License-Identifier: MIT */
/*
 * apps_list.h - all applications of one implementation, and how it is started
 *
 * The includer names it as words.h says.
 */
#include "apps.h"
#include "words.h"

#include "app_genome.h"
#include "app_intruder.h"
#include "app_kmeans.h"
#include "app_labyrinth.h"
#include "app_ssca2.h"
#include "app_vacation.h"
#include "app_yada.h"

static const struct app apps[] = {
	KMEANS_APPS
	GENOME_APPS
	INTRUDER_APPS
	LABYRINTH_APPS
	SSCA2_APPS
	VACATION_APPS
	YADA_APPS
};

#include "apps_team.h"

const struct impl NAME(impl) = {
	.missing = IMPL_MISSING,
	.start = impl_start,
	.team = impl_team,
	.attach = impl_attach,
	.detach = impl_detach,
	.apps = apps,
};

#ifdef IMPL_SEQ
const unsigned int apps_count = sizeof(apps) / sizeof(apps[0]);
#endif
