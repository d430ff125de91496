# SPDX-License-Identifier: Apache-2.0

# Parts of quickstart.sh.
EXTRA_DIST += \
	utilities/quickstart-build.sh \
	utilities/quickstart-demo.sh \
	utilities/quickstart-steps.sh \
	utilities/sandbox.sh
