/* Runs a fuzz target over the files of its corpus, without libFuzzer. Any crash or sanitizer
 * report fails the test; so does an empty corpus, which would test nothing. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 };

static int replay(const char *dir, const char *name)
{
	static uint8_t input[INPUT_MAX];
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return 1;
	}
	size_t size = fread(input, 1, sizeof input, file);
	(void)fclose(file);
	/* exact-size copy, so that AddressSanitizer sees a read past the end */
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy) {
		return 1;
	}
	for (size_t i = 0; i < size; i++) {
		copy[i] = input[i];
	}
	(void)LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	return 0;
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	if (!dir) {
		(void)fprintf(stderr, "usage: %s corpus-directory\n", argv[0]);
		return 2;
	}
	int failed = 0;
	int n_inputs = 0;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] != '.') {
			failed |= replay(argv[1], entry->d_name);
			n_inputs++;
		}
	}
	(void)closedir(dir);
	(void)printf("%d inputs\n", n_inputs);
	return failed || n_inputs == 0;
}
